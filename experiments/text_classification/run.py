"""Training of experiments.text_classification: two teachers, and the arms of each student."""

import dataclasses
import functools
import pathlib

import numpy as np
from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common.costs import Speed, interleaved_speeds
from experiments.common.mock_texts import mock_texts, mock_tokenizer
from experiments.common.sentence_encoders import Teacher, load_teacher, mock_teacher, rows_of
from experiments.text_classification.config import ALL, CONTROL, LABELS, POOL, Config, check
from experiments.text_classification.teachers import TeacherTraining, TrainedTeacher
from jaxkd import Network, recipes
from jaxkd.cache import Cache
from jaxkd.data import Sequences, split_labels
from jaxkd.models import Encoder, StaticEmbedder
from jaxkd.study import Arm, ArmTraining, Study, StudyResults
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config


@dataclasses.dataclass(frozen=True)
class ClassificationResults:
    """All results of the experiment, which the report shows.

    Attributes:
      config: configuration of the experiment.
      train: training texts, with all labels.
      test: test texts.
      few: ids of the texts whose labels students with few labels have.
      teacher: teacher of all labels.
      control: teacher of few labels.
      results: by student, the results of its arms on the test texts.
      networks: networks whose size and speed are reported, by name, the teacher first.
      speeds: their speeds, by name.
    """

    config: Config
    train: Sequences
    test: Sequences
    few: np.ndarray
    teacher: TrainedTeacher
    control: TrainedTeacher
    results: dict[str, StudyResults]
    networks: dict[str, Network]
    speeds: dict[str, Speed]


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> ClassificationResults:
    """Trains both teachers and all students, and times the networks.

    Args:
      config: configuration of the experiment.
      workdir: folder for everything; finished runs are read, interrupted ones resumed, and a work
        directory of another configuration (students aside) is refused.
      runtime: devices and tracing.

    Returns:
      The results of all arms.

    Raises:
      FileNotFoundError: as `load`.
      ValueError: a configuration that cannot run, before anything is trained.
      CacheError: the cache there is of another encoder, of other texts or another tokenizer.
    """
    check(config)
    encoder, train, test = load(config)
    few = split_labels(train, config.labels_per_class, seed=0)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "students"})
    teachers = TeacherTraining(config, workdir, encoder, train, test, runtime)
    teacher = teachers.trained("all_labels", teachers.embeddings["train"])
    control = teachers.trained("few_labels", teachers.embeddings["train"].select(few))
    parts = {
        "train": train,
        "few": train.select(few),
        "pool": train.with_labels(few),
        "test": test,
    }
    studies = {
        name: Study(
            parts,
            functools.partial(_make_student, config, train, name),
            arms=_arms(config, teacher, control),
            seeds=config.seeds,
            # Students of few labels make as many steps as those that see all texts.
            steps=config.epochs * (len(train) // config.batch_size),
            workdir=workdir / name,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            population=False,
            steps_per_call=20,
            runtime=runtime,
        )
        for name in config.students.split(",")
    }
    results = {name: study.run() for name, study in studies.items()}
    networks = {encoder.name: teacher.network}
    networks |= {name: study.make_student(0) for name, study in studies.items()}
    batch = test.read(test.ids[: min(config.speed_batch, len(test))])
    return ClassificationResults(
        config=config,
        train=train,
        test=test,
        few=few,
        teacher=teacher,
        control=control,
        results=results,
        networks=networks,
        speeds=interleaved_speeds(networks, batch, rounds=config.speed_rounds),
    )


def load(config: Config) -> tuple[Teacher, Sequences, Sequences]:
    """Loads the encoder with an untrained classifier, and training and test texts in its tokens.

    Returns:
      The encoder, the training texts and the test texts.

    Raises:
      FileNotFoundError: files of the encoder or the texts are missing.
      ValueError: a tokenizer that is not the encoder's, or fewer texts than a batch holds.
    """
    if config.mock:
        train = mock_texts(config.mock, "train", num_classes=3)
        test = mock_texts(300, "test", num_classes=3)
        encoder = mock_teacher(mock_tokenizer(), num_classes=3)
    else:
        train, test = (
            datasets.load_texts(config.dataset, split, data_dir=config.data_dir)
            for split in ("train", "test")
        )
        encoder = load_teacher(config.teacher, num_classes=train.num_classes)
    if len(train) < config.batch_size:
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} texts")
    return encoder, rows_of(train, encoder, config.length), rows_of(test, encoder, config.length)


def _arms(config: Config, teacher: TrainedTeacher, control: TrainedTeacher) -> list[Arm]:
    options = {"alpha": config.alpha, "temperature": config.temperature}
    return [
        Arm("labels", name=LABELS, data="few"),
        Arm(_distilled, {**options, "cache": teacher.cache}, name=POOL),
        Arm(_distilled, {**options, "cache": control.cache}, name=CONTROL),
        Arm("labels", name=ALL, data="train"),
    ]


def _distilled(
    study: Study, seed: int, *, alpha: float, temperature: float, cache: Cache
) -> ArmTraining:
    """Trains on the pool, from logits that follow from the embeddings of the encoder."""
    objective = recipes.kd(alpha=alpha, temperature=temperature)
    return study.training(seed, objective, data="pool", cache=cache)


def _make_student(config: Config, train: Sequences, name: str, seed: int) -> Network:
    rngs, tokens, classes = nnx.Rngs(seed), train.vocab_size, train.num_classes
    if name == "static":
        # The dense layer behind the mean leads to the classes.
        width = config.static_width
        embedder = StaticEmbedder(tokens, classes, table_width=width, normalize=False, rngs=rngs)
        return jaxkd.from_nnx(embedder)
    encoder = Encoder(
        tokens,
        config.student_width,
        config.student_layers,
        config.student_heads,
        max_length=config.length,
        num_classes=classes,
        rngs=rngs,
    )
    return jaxkd.from_nnx(encoder)
