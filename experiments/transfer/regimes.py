"""The teachers and students of the transfer experiment, one function a question."""

import dataclasses
import functools
from typing import Any

import numpy as np
from flax import nnx

import jaxkd
from experiments.common.study import Arm, Result, Study, adamw, run_arm
from experiments.common.teachers import train_teacher
from jaxkd import Network, Objective, strategies
from jaxkd.cache import Cache
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))


@dataclasses.dataclass(frozen=True)
class Taught:
    """A trained teacher.

    Attributes:
      network: the teacher.
      cache: its answers to all training examples.
      logits: on the test examples.
    """

    network: Network
    cache: Cache
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unseen:
    """A transfer set without some classes, and what came of it.

    Attributes:
      name: of the transfer set.
      unseen: classes that it lacks.
      corrected: classes whose bias is corrected together.
      labels: students of the labels.
      distilled: students of the teacher's answers alone.
    """

    name: str
    unseen: tuple[int, ...]
    corrected: tuple[int, ...]
    labels: Result
    distilled: Result


@dataclasses.dataclass(frozen=True)
class Followed:
    """A teacher and its students."""

    teacher: Taught
    students: Result


@dataclasses.dataclass
class Transferred:
    """Everything that the report is made of; what was not asked for is empty.

    Attributes:
      config: of the experiment, complete.
      study: of the students.
      train: training examples with all labels.
      steps: of every student.
      teacher_steps: of every teacher.
      teacher: of all labels.
      full: arms with all labels: `labels`, `smoothed`, `distilled`.
      few: by labels a class: `labels`, `same`, `pool`, `control`.
      controls: by labels a class, the teacher of no more labels.
      left_out: one for each transfer set that lacks classes.
      noise: by share of wrong labels: `labels`, `smoothed`, and distilled from the teacher of
        `clean` and of `noisy` labels.
      noisy_teachers: by share, the teacher of the same wrong labels.
      capacity: by name of the teacher, the smallest first.
      assistant: the assistant and its students.
    """

    config: Any
    study: Study
    train: Dataset
    steps: int
    teacher_steps: int
    teacher: Taught
    full: dict[str, Result] = dataclasses.field(default_factory=dict)
    few: dict[int, dict[str, Result]] = dataclasses.field(default_factory=dict)
    controls: dict[int, Taught] = dataclasses.field(default_factory=dict)
    left_out: list[Unseen] = dataclasses.field(default_factory=list)
    noise: dict[float, dict[str, Result]] = dataclasses.field(default_factory=dict)
    noisy_teachers: dict[float, Taught] = dataclasses.field(default_factory=dict)
    capacity: dict[str, Followed] = dataclasses.field(default_factory=dict)
    assistant: Followed | None = None

    @property
    def labels(self) -> np.ndarray:
        """Of the test examples."""
        return self.study.test.labels


def noisy(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Replaces a share of the labels by wrong ones, all of which are equally likely.

    A larger share adds wrong labels to those of a smaller one and changes none of them.

    Args:
      data: with all labels, at least two classes.
      share: of the examples, from 0 to 1.
      seed: of the choice.

    Returns:
      The same examples with other labels.

    Reference:
      Symmetric noise without the true class, as in Patrini et al., Making Deep Neural Networks
      Robust to Label Noise: a Loss Correction Approach, CVPR 2017.
    """
    # NumPy promises the raw stream of a bit generator for good, not what its samplers make of it.
    keys, shifts = np.random.PCG64(seed).random_raw((2, len(data)))
    rows = np.argsort(keys, kind="stable")[: round(share * len(data))]
    labels = data.labels.copy()
    wrong = 1 + (shifts[rows] % np.uint64(data.num_classes - 1)).astype(np.int32)
    labels[rows] = (labels[rows] + wrong) % data.num_classes
    return dataclasses.replace(data, labels=labels)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What all teachers and students have in common.

    Attributes:
      config: of the experiment, complete.
      study: of the students.
      train: with all labels.
      steps: of every student.
      teacher_steps: of every teacher.
      objectives: `labels`, `smoothed`, `kd`, and `pure_kd` without labels.
    """

    config: Any
    study: Study
    train: Dataset
    steps: int
    teacher_steps: int
    objectives: dict[str, Objective]

    def make_teacher(self, width: int) -> Network:
        """A fresh teacher; teachers of one width start from the same weights."""
        shape, classes = self.train.shape, self.train.num_classes
        dropout_rate = 0.3 if self.config.dataset == "digits" else 0.0
        model = CNN(
            (shape[0], shape[1], shape[2]),
            (width, 2 * width),
            4 * width,
            classes,
            dropout_rate=dropout_rate,
            rngs=nnx.Rngs(100),
        )
        return jaxkd.from_nnx(model)

    def teach(self, name: str, data: Dataset, width: int = 0) -> Taught:
        """A teacher of some labels, and its answers to all training examples."""
        network = self.make_teacher(width or self.config.teacher_width)
        where = f"teachers/{name}"
        network = train_teacher(self.study, network, data, self.teacher_steps, name=where)
        return self.asked(name, network)

    def assist(self, name: str, teacher: Taught, width: int) -> Taught:
        """A teacher's assistant, which learns from its answers as students do."""
        study, steps = self.study, self.teacher_steps
        links = strategies.teacher_assistants(
            teacher.network,
            {name: self.make_teacher(width)},
            self.objectives["kd"],
            steps=steps,
            optimizer=adamw(study.learning_rate, steps),
        )

        def cached(_: Network | None) -> Loader:
            return study.runtime.loader(self.train, VIEWS, study.batch_size, cache=teacher.cache)

        log_every = max(1, steps // 20)
        taught = strategies.run_phases(
            [dataclasses.replace(link, batches=cached) for link in links],
            workdir=study.workdir / "teachers",
            make_step=functools.partial(
                study.runtime.train_step, batch_size=study.batch_size, views=VIEWS
            ),
            log_every=log_every,
            checkpoint_every=log_every * 4,
            profile=study.runtime.profile,
        )
        return self.asked(name, taught[name])

    def asked(self, name: str, network: Network) -> Taught:
        """A teacher's answers to the training examples, cached, and to the test examples."""
        path = self.study.workdir / "caches" / name
        jaxkd.cache.build(path, network, self.train, VIEWS)
        cache = jaxkd.cache.open(path, teacher=network, dataset=self.train, views=VIEWS)
        return Taught(network, cache, self.study.evaluator.logits(network))

    def learn(
        self, regime: str, arm: str, data: Dataset, objective: str, cache: Cache | None = None
    ) -> Result:
        """The students of one arm."""
        wanted = self.objectives[objective]
        return run_arm(self.study, Arm(arm, data, wanted, self.steps, cache=cache), regime)

    def full(self, out: Transferred) -> None:
        """Students of all labels, which several questions share."""
        regime, train, cache = "all labels", self.train, out.teacher.cache
        out.full["labels"] = self.learn(regime, "labels", train, "labels")
        out.full["smoothed"] = self.learn(regime, "label smoothing", train, "smoothed")
        out.full["distilled"] = self.learn(regime, "distilled", train, "kd", cache)


def few_labels(protocol: Protocol, out: Transferred, count: int, ids: np.ndarray) -> None:
    """Adds a point of the curve over labels; `ids` are the labeled examples."""
    few, pool = protocol.train.select(ids), protocol.train.with_labels(ids)
    control = protocol.teach(f"labels_{count}", few)
    cache = out.teacher.cache
    regime = f"few labels {count}"
    out.controls[count] = control
    out.few[count] = {
        "labels": protocol.learn(regime, "labels", few, "labels"),
        "same": protocol.learn(regime, "distilled on the same labels", few, "kd", cache),
        "pool": protocol.learn(regime, "distilled on the pool", pool, "kd", cache),
        "control": protocol.learn(regime, "control", pool, "kd", control.cache),
    }


def left_out(protocol: Protocol, out: Transferred) -> None:
    """Adds the transfer sets that lack classes."""
    train, config = protocol.train, protocol.config
    names = train.class_names or tuple(map(str, range(train.num_classes)))
    every, only = range(train.num_classes), config.only_classes
    # Each with the classes that the transfer set has, and those whose bias is corrected: the one
    # that is missing is raised, or the few that are there are lowered.
    sets = [
        (f"without {names[c]}", [k for k in every if k != c], (c,)) for c in config.left_out_classes
    ]
    sets.append((f"only {' and '.join(names[c] for c in only)}", sorted(only), only))
    for name, seen, corrected in sets:
        part = train.select(train.ids[np.isin(train.labels, seen)])
        unseen = tuple(k for k in every if k not in seen)
        out.left_out.append(
            Unseen(
                name,
                unseen,
                tuple(corrected),
                protocol.learn(f"left out {name}", "labels", part, "labels"),
                protocol.learn(f"left out {name}", "distilled", part, "pure_kd", out.teacher.cache),
            )
        )


def noise(protocol: Protocol, out: Transferred, share: float) -> None:
    """Adds a share of wrong labels."""
    if share == 0:
        # Both teachers are the one of all labels.
        plain, smoothed, distilled = out.full.values()
        out.noise[share] = {
            "labels": plain,
            "smoothed": smoothed,
            "clean": distilled,
            "noisy": distilled,
        }
        out.noisy_teachers[share] = out.teacher
        return
    data = noisy(protocol.train, share)
    regime = f"noise {share:g}"
    taught = out.noisy_teachers[share] = protocol.teach(f"noise_{share:g}", data)
    clean = out.teacher.cache
    out.noise[share] = {
        "labels": protocol.learn(regime, "labels", data, "labels"),
        "smoothed": protocol.learn(regime, "label smoothing", data, "smoothed"),
        "clean": protocol.learn(regime, "teacher of clean labels", data, "kd", clean),
        "noisy": protocol.learn(regime, "teacher of noisy labels", data, "kd", taught.cache),
    }


def capacity(protocol: Protocol, out: Transferred) -> None:
    """Adds teachers of every size, and the assistant."""
    config, train = protocol.config, protocol.train
    for width in sorted(config.teacher_widths):
        name = f"CNN-{width}"
        if width == config.teacher_width:
            out.capacity[name] = Followed(out.teacher, out.full["distilled"])
            continue
        taught = protocol.teach(f"width_{width}", train, width)
        result = protocol.learn("capacity", name, train, "kd", taught.cache)
        out.capacity[name] = Followed(taught, result)
    largest = out.capacity[f"CNN-{max(config.teacher_widths)}"].teacher
    assistant = protocol.assist("assistant", largest, config.assistant_width)
    result = protocol.learn("capacity", "assistant", train, "kd", assistant.cache)
    out.assistant = Followed(assistant, result)
