"""Training of experiments.embeddings: the teacher's cache, and the students by arm and seed."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

import jaxkd
from experiments.common.costs import Speed, interleaved_speeds
from experiments.common.mock_texts import mock_texts, mock_tokenizer
from experiments.common.sentence_encoders import (
    Teacher,
    encoder_student,
    load_teacher,
    mock_teacher,
    rows_of,
    static_student,
)
from experiments.datasets import austen
from experiments.embeddings.config import ARMS, RELATIONS, Config, check, student_of
from experiments.embeddings.evaluation import EmbeddingEvaluator, SentencePairs, normalized
from jaxkd import Network, Objective, Term, Views, losses
from jaxkd.cache import Cache
from jaxkd.data import Sequences
from jaxkd.study import Arm, ArmResult, ArmTraining, Evaluator, Study
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Dense
from jaxkd.training import bind_config


@dataclasses.dataclass(frozen=True)
class EmbeddingResults:
    """All results of the experiment, which the report shows.

    Attributes:
      config: configuration of the experiment.
      teacher: teacher whose embeddings were learned.
      train: training sentences.
      test: held-out sentences.
      cache: cached embeddings of the training sentences.
      results: by arm what its students gave, with a curve of Spearman correlations.
      untrained: agreement of the static student before training, with an axis of one seed in front;
        empty where no arm trains it.
      networks: networks whose size and speed are reported, by name, the teacher first.
      speeds: their speeds, by name.
    """

    config: Config
    teacher: Teacher
    train: Sequences
    test: Sequences
    cache: Cache
    results: dict[str, ArmResult]
    untrained: dict[str, np.ndarray]
    networks: dict[str, Network]
    speeds: dict[str, Speed]


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> EmbeddingResults:
    """Caches the teacher's embeddings, trains and measures all students, and times the networks.

    Args:
      config: configuration of the experiment.
      workdir: folder for everything; finished runs are read, interrupted ones resumed, and a work
        directory of another configuration (arms aside) is refused.
      runtime: devices and tracing.

    Returns:
      The results of the chosen arms.

    Raises:
      FileNotFoundError: as `load`.
      ValueError: a configuration that cannot run, before anything is trained.
      CacheError: the cache there is of another teacher, of other sentences or another tokenizer.
    """
    check(config)
    teacher, train, test = load(config)
    arms = config.arms.split(",")
    make_student = functools.partial(_make_student, config, teacher, train)
    # Sizes that do not fit each other are refused before the first forward pass of the teacher.
    for student in {student_of(arm) for arm in arms}:
        make_student(student, 0)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "arms"})
    cache = cache_embeddings(workdir, teacher, train)
    make_evaluator = _evaluator(config, workdir, teacher, test)

    def train_arm(study: Study, seed: int, *, arm: str) -> ArmTraining:
        return study.training(seed, objective(config, arm), cache=cache)

    results: dict[str, ArmResult] = {}
    untrained: dict[str, np.ndarray] = {}
    for student in dict.fromkeys(map(student_of, arms)):
        is_static = student == "static"
        study = Study(
            {"train": train, "test": test},
            functools.partial(make_student, student),
            arms=[Arm(train_arm, {"arm": a}, name=a) for a in arms if student_of(a) == student],
            seeds=config.seeds,
            epochs=config.static_epochs if is_static else config.epochs,
            workdir=workdir / f"{student}_students",
            batch_size=config.batch_size,
            learning_rate=config.static_learning_rate if is_static else config.learning_rate,
            make_evaluator=make_evaluator,
            metric=("spearman", "max"),
            population=False,
            runtime=runtime,
        )
        results |= study.run().arms
        if is_static:
            values = study.evaluator("test").results(study.make_student(0))
            untrained = {name: value[None] for name, value in values.items()}
    networks = {teacher.name: teacher.network}
    networks |= {ARMS[arm]: make_student(student_of(arm), 0) for arm in arms}
    return EmbeddingResults(
        config=config,
        teacher=teacher,
        train=train,
        test=test,
        cache=cache,
        results={arm: results[arm] for arm in arms},
        untrained=untrained,
        networks=networks,
        speeds=_speeds(config, networks, test),
    )


def load(config: Config) -> tuple[Teacher, Sequences, Sequences]:
    """Loads the teacher, and training and held-out sentences in its tokens.

    Returns:
      The teacher, the training sentences and the held-out sentences.

    Raises:
      FileNotFoundError: files of the teacher or the novels are missing.
      ValueError: a tokenizer that is not the teacher's, or fewer sentences than a batch holds.
    """
    if config.mock:
        teacher = mock_teacher(mock_tokenizer())
        train, test = mock_texts(config.mock, "train"), mock_texts(300, "test")
    else:
        teacher = load_teacher(config.teacher)
        folder = config.data_dir or None
        train = austen.sentences("train", data_dir=folder)
        test = austen.sentences("test", data_dir=folder)
    if config.sentences:
        if config.sentences > len(train):
            raise ValueError(
                f"sentences={config.sentences} is more than the {len(train)} that there are"
            )
        spread = np.linspace(0, len(train) - 1, config.sentences).astype(int)
        train = train.where(np.isin(np.arange(len(train)), spread))
    if len(train) < config.batch_size:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {len(train)} training sentences"
        )
    rows = [rows_of(part, teacher, config.length, labels=None) for part in (train, test)]
    return teacher, rows[0], rows[1]


def cache_embeddings(workdir: pathlib.Path, teacher: Teacher, sentences: Sequences) -> Cache:
    """Caches the teacher's embeddings of sentences; computes those that are missing."""
    return jaxkd.cache.build(
        workdir / f"embeddings_{sentences.split}",
        teacher.network,
        sentences,
        Views(),
        codec=Dense("float16"),
        batch_size=64,
    )


def objective(config: Config, arm: str) -> Objective:
    """Returns what an arm minimizes: cosines, and similarities in the batch unless without them."""
    terms = {"cosine": Term(losses.feature_cosine)}
    if not arm.endswith("_cosine"):
        loss, weight = RELATIONS[config.relation]
        terms["relation"] = Term(loss, weight=weight * config.relation_weight)
    return Objective(**terms)


def _make_student(
    config: Config, teacher: Teacher, train: Sequences, student: str, seed: int
) -> Network:
    if student == "static":
        return static_student(teacher, train, width=config.static_width, seed=seed)
    return encoder_student(
        teacher,
        width=config.student_width,
        layers=config.student_layers,
        heads=config.student_heads,
        length=config.length,
        seed=seed,
    )


def _evaluator(
    config: Config, workdir: pathlib.Path, teacher: Teacher, test: Sequences
) -> Callable[..., Evaluator]:
    cached = cache_embeddings(workdir, teacher, test).read(test.ids, 0).decode()["logits"]
    embeddings = normalized(np.asarray(cached))
    pairs = SentencePairs.of(embeddings, config.pairs)
    return functools.partial(EmbeddingEvaluator, teacher=embeddings, pairs=pairs)


def _speeds(config: Config, networks: dict[str, Network], test: Sequences) -> dict[str, Speed]:
    # Networks of one architecture are timed once.
    first = {network.architecture: name for name, network in reversed(networks.items())}
    timed = {name: network for name, network in networks.items() if name in first.values()}
    batch = test.read(test.ids[: min(config.speed_batch, len(test))])
    speeds = interleaved_speeds(timed, batch, rounds=config.speed_rounds)
    return {name: speeds[first[network.architecture]] for name, network in networks.items()}
