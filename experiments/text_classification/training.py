"""The runs of experiments.text_classification: two teachers on one encoder, and the students."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx

import jaxkd
from experiments.common.costs import Speed
from experiments.common.runtime import Runtime
from experiments.common.sentence_encoders import Teacher
from experiments.common.study import Arm, Result, Study, adamw, run_arm
from experiments.common.teachers import train_teacher
from jaxkd import Network, Views, recipes
from jaxkd.cache import Cache, Writer
from jaxkd.data import Dataset, Sequences
from jaxkd.targets import Dense

if TYPE_CHECKING:
    from experiments.text_classification.config import Config

VIEWS = Views()
STUDENTS = ("static", "encoder")

LABELS = "labels"
POOL = "distilled on the pool"
CONTROL = "control: teacher of few labels"
ALL = "all labels"
"""Names of the arms."""


@dataclasses.dataclass(frozen=True)
class Taught:
    """A teacher and its answers.

    Attributes:
      network: the encoder with its classifier.
      cache: answers to the training texts.
      logits: on the test texts.
    """

    network: Network
    cache: Cache
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class Classified:
    """What came out.

    Attributes:
      config: the experiment.
      teacher: whose encoder it is.
      train: training texts, with all labels.
      test: test texts.
      few: ids of the texts whose labels students with few labels have.
      steps: of each student.
      taught: the teacher of all labels.
      control: that of few.
      results: by student, the arms in order.
      networks: by name what is timed and measured, the teacher first.
      speeds: likewise.
    """

    config: "Config"
    teacher: Teacher
    train: Sequences
    test: Sequences
    few: np.ndarray
    steps: int
    taught: Taught
    control: Taught
    results: dict[str, list[Result]]
    networks: dict[str, Network]
    speeds: dict[str, Speed] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What all teachers and students have in common.

    Attributes:
      config: the experiment.
      workdir: everything is kept below it.
      teacher: the encoder with an untrained classifier.
      train: training texts, with all labels.
      test: test texts.
      few: ids of those whose labels students with few labels have.
      runtime: devices and tracing.
    """

    config: "Config"
    workdir: pathlib.Path
    teacher: Teacher
    train: Sequences
    test: Sequences
    few: np.ndarray
    runtime: Runtime

    def run(self, studies: Mapping[str, Study]) -> Classified:
        """Both teachers, then the arms of each student."""
        config, train = self.config, self.train
        steps = config.epochs * (len(train) // config.batch_size)
        taught = self.teach("all_labels", self.embedded["train"])
        control = self.teach("few_labels", self.embedded["train"].select(self.few))
        labels = recipes.labels()
        kd = recipes.kd(alpha=config.alpha, temperature=config.temperature)
        pool = train.with_labels(self.few)
        arms = [
            Arm(LABELS, train.select(self.few), labels, steps),
            Arm(POOL, pool, kd, steps, cache=taught.cache),
            Arm(CONTROL, pool, kd, steps, cache=control.cache),
            Arm(ALL, train, labels, steps),
        ]
        return Classified(
            config=config,
            teacher=self.teacher,
            train=train,
            test=self.test,
            few=self.few,
            steps=steps,
            taught=taught,
            control=control,
            results={
                name: [run_arm(study, arm, "students") for arm in arms]
                for name, study in studies.items()
            },
            networks={
                self.teacher.name: taught.network,
                **{name: study.make_student(0) for name, study in studies.items()},
            },
        )

    @functools.cached_property
    def embedded(self) -> dict[str, Dataset]:
        """What the encoder makes of the texts of both splits, as examples; it reads them once."""
        found = {}
        for split, texts in (("train", self.train), ("test", self.test)):
            cache = jaxkd.cache.build(
                self.workdir / f"embeddings_{split}",
                self.teacher.network,
                texts,
                VIEWS,
                codec={"embedding": Dense("float32")},
                batch_size=64,
            )
            found[split] = Dataset.from_arrays(
                np.asarray(cache.read(texts.ids, 0).decode()["embedding"]),
                texts.labels,
                name=f"{texts.name}_embedded",
                split=split,
                num_classes=texts.num_classes,
                ids=texts.ids,
            )
        return found

    def teach(self, name: str, data: Dataset) -> Taught:
        """A teacher that was trained on some labels, the encoder left as it is."""
        config = self.config
        study = Study(
            workdir=self.workdir / "teachers",
            make_student=lambda seed: self._head(),
            test=self.embedded["test"],
            views=VIEWS,
            test_views=VIEWS,
            num_views=1,
            batch_size=config.batch_size,
            learning_rate=config.teacher_learning_rate,
            seeds=(0,),
            steps_per_call=20,
            runtime=self.runtime,
        )
        adam = adamw(config.teacher_learning_rate, config.teacher_steps)
        head = train_teacher(
            study, self._head(), data, config.teacher_steps, name=name, optimizer=adam
        )
        encoder = self.teacher.network
        trained = {f"head.{part}": value for part, value in head.params.items()}
        network = encoder.replace(params={**encoder.params, **trained}, state=encoder.state)
        answers = {split: _linear(head, part.inputs) for split, part in self.embedded.items()}
        cache = self._kept(name, network, answers["train"])
        return Taught(network, cache, answers["test"])

    def _head(self) -> Network:
        width, classes = self.teacher.width, self.train.num_classes
        return jaxkd.from_nnx(nnx.Linear(width, classes, rngs=nnx.Rngs(0)))

    def _kept(self, name: str, network: Network, logits: np.ndarray) -> Cache:
        """The teacher's answers, without asking its encoder once more."""
        path = self.workdir / f"answers_{name}"
        shape = (self.train.num_classes,)
        with Writer(
            path,
            network,
            self.train,
            VIEWS,
            shapes={"logits": shape},
            codec=Dense("float16"),
            process=(jax.process_index(), jax.process_count()),
        ) as writer:
            for ids, view in writer.missing(batch_size=1024):
                writer.write(ids, view, logits[self.train.rows(ids)])
        return writer.cache()


def f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """The F1 of the second of two classes, or the mean of those of more classes.

    Args:
      logits: `[examples, num_classes]`.
      labels: `[examples]`.

    Returns:
      From 0 to 1: the harmonic mean of precision and recall.
    """
    from sklearn.metrics import f1_score

    classes = logits.shape[1]
    if classes == 2:
        return float(f1_score(labels, np.argmax(logits, axis=1), zero_division=0.0))
    said = np.argmax(logits, axis=1)
    among = range(classes)
    return float(f1_score(labels, said, labels=among, average="macro", zero_division=0.0))


def _linear(head: Network, inputs: np.ndarray) -> np.ndarray:
    kernel, bias = np.asarray(head.params["kernel"]), np.asarray(head.params["bias"])
    return inputs @ kernel + bias
