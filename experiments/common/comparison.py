"""The comparison that the small experiments run: is a student better off with a teacher?

Regimes: all labels with a short and a long schedule, and few labels with a large unlabeled pool.
Arms: labels, labels with smoothing, distilled online, distilled from the cache, and the control
whose teacher had only the few labels. `experiments.transfer` asks where the knowledge comes from.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from experiments.common.runtime import Runtime
from experiments.common.study import Arm, Result, Study, run_arm
from experiments.common.teachers import cache_outputs, train_teacher
from experiments.common.validation import at_least, fields, positive
from jaxkd import Network, recipes
from jaxkd.cache import Cache
from jaxkd.data import Dataset, split_labels
from jaxkd.targets import Codec, Dense, TopK
from jaxkd.training import bind_config
from jaxkd.views import Cutmix, Mixup, Normalize, RandomCrop, RandomFlip, Views


@dataclasses.dataclass
class ViewsConfig:
    """How training examples are seen.

    Attributes:
      crop: pixels of padding for random crops, 0 for none.
      flip: whether to mirror at random.
      mixup: alpha of mixup, 0 for none.
      cutmix: alpha of cutmix, 0 for none; not together with mixup.
      num_views: different views of an example; each is an answer in the cache.
      seed: of the views.
    """

    crop: int = 0
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    num_views: int = 1
    seed: int = 0


@dataclasses.dataclass
class ComparisonConfig:
    """What both experiments let one choose.

    Attributes:
      alpha: weight of the teacher.
      temperature: of the distillation.
      label_smoothing: of the arm with smoothed labels.
      codec: `float32`, `bfloat16`, `float16`, `int8`, or `top3`, `top16`, … for the k largest
        logits.
      batch_size: of all training.
      learning_rate: peak of the cosine, for all arms.
      short_epochs: of the short schedule, with all labels.
      long_epochs: of the long schedule, with all labels.
      few_epochs: passes over the pool in the regime with few labels; the arms that see the
        labeled examples alone make as many steps.
      labels_per_class: labels in the regime with few of them.
      teacher_epochs: passes of the teacher.
      seeds: runs of each arm.
      views: how training examples are seen.
    """

    alpha: float = 0.9
    temperature: float = 4.0
    label_smoothing: float = 0.1
    codec: str = "float32"
    batch_size: int = 128
    learning_rate: float = 1e-3
    short_epochs: int = 5
    long_epochs: int = 30
    few_epochs: int = 10
    labels_per_class: int = 100
    teacher_epochs: int = 10
    seeds: int = 5
    views: ViewsConfig = dataclasses.field(default_factory=ViewsConfig)


@dataclasses.dataclass(frozen=True)
class Compared:
    """Everything that the report is made of."""

    config: ComparisonConfig
    study: Study
    train: Dataset
    student: Network
    teacher: Network
    teacher_logits: np.ndarray
    control_logits: np.ndarray
    cache: Cache
    short: list[Result]
    long: list[Result]
    few: list[Result]

    @property
    def labels(self) -> np.ndarray:
        """Of the test examples."""
        return self.study.test.labels

    @property
    def caption(self) -> str:
        """What a table's numbers are."""
        count = len(self.study.seeds)
        return f"Mean ± standard deviation of {count} students (seeds), one teacher, last step."


def run(
    config: ComparisonConfig,
    workdir: pathlib.Path,
    train: Dataset,
    test: Dataset,
    make_teacher: Callable[[int], Network],
    make_student: Callable[[int], Network],
    *,
    steps_per_call: int | None,
    runtime: Runtime,
) -> Compared:
    """Trains the teachers, builds the caches, runs all arms.

    Args:
      config: what to compare.
      workdir: everything is kept below it; a run that was cut is taken up, one of another
        configuration is refused.
      train: with all labels.
      test: held out.
      make_teacher: from a seed to a fresh teacher.
      make_student: from a seed to a fresh student.
      steps_per_call: for arms without an online teacher, see `jaxkd.training.fit`.
      runtime: devices, tracing and consent.

    Returns:
      What came out.

    Raises:
      ValueError: a configuration that cannot run, before anything is trained.
    """
    study = Study(
        workdir=workdir,
        make_student=make_student,
        test=test,
        views=views_of(config.views, train.num_classes),
        test_views=Views((Normalize(),)),
        num_views=config.views.num_views,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seeds=tuple(range(config.seeds)),
        steps_per_call=steps_per_call,
        runtime=runtime,
    )
    _check(config, train)
    codec = _codec(config)
    codec.layout((train.num_classes,))
    labels = recipes.labels()
    smoothed = recipes.labels(label_smoothing=config.label_smoothing)
    kd = recipes.kd(alpha=config.alpha, temperature=config.temperature)
    few_ids = split_labels(train, config.labels_per_class, seed=0)
    few, pool = train.select(few_ids), train.with_labels(few_ids)
    # Bound to the configuration only now that it is known to be a good one.
    bind_config(workdir, dataclasses.asdict(config))

    def steps(data: Dataset, epochs: int) -> int:
        return epochs * max(1, len(data) // config.batch_size)

    def answers(name: str, teacher: Network, data: Dataset) -> Cache:
        return cache_outputs(
            workdir / name,
            teacher,
            data,
            study.views,
            runtime,
            student=make_student(0),
            codec=codec,
            num_views=config.views.num_views,
        )

    teacher_steps = steps(train, config.teacher_epochs)
    teacher = train_teacher(study, make_teacher(100), train, teacher_steps)
    # The control has as many steps as a student of the same regime, on the few labels alone.
    few_steps = steps(pool, config.few_epochs)
    control = train_teacher(study, make_teacher(101), few, few_steps, name="control_teacher")
    cache = answers("cache", teacher, train)
    control_cache = answers("control_cache", control, train)
    # Where views mix, partners come from the data set in use: a selection needs its own answers.
    few_cache = answers("few_cache", teacher, few) if study.views.mixes else cache

    def both(data: Dataset, count: int) -> list[Arm]:
        return [Arm("labels", data, labels, count), Arm("label smoothing", data, smoothed, count)]

    short_steps, long_steps = steps(train, config.short_epochs), steps(train, config.long_epochs)
    regimes = {
        "short": [
            *both(train, short_steps),
            Arm("distilled online", train, kd, short_steps, teacher=teacher),
            Arm("distilled from the cache", train, kd, short_steps, cache=cache),
        ],
        "long": [
            *both(train, long_steps),
            Arm("distilled from the cache", train, kd, long_steps, cache=cache),
        ],
        "few labels": [
            *both(few, few_steps),
            Arm("distilled on the same labels", few, kd, few_steps, cache=few_cache),
            Arm("distilled on the pool, online", pool, kd, few_steps, teacher=teacher),
            Arm("distilled on the pool, cached", pool, kd, few_steps, cache=cache),
            Arm("control: teacher of few labels", pool, kd, few_steps, cache=control_cache),
        ],
    }
    results = {
        regime: [run_arm(study, arm, regime) for arm in arms] for regime, arms in regimes.items()
    }
    return Compared(
        config=config,
        study=study,
        train=train,
        student=make_student(0),
        teacher=teacher,
        teacher_logits=study.evaluator.logits(teacher),
        control_logits=study.evaluator.logits(control),
        cache=cache,
        short=results["short"],
        long=results["long"],
        few=results["few labels"],
    )


def views_of(config: ViewsConfig, num_classes: int) -> Views:
    """The views of a configuration.

    Raises:
      ValueError: both mixtures at once.
    """
    if config.mixup and config.cutmix:
        raise ValueError(
            f"views.mixup={config.mixup} and views.cutmix={config.cutmix}: choose one, set the "
            "other to 0"
        )
    transforms = [
        *([RandomCrop(config.crop)] if config.crop else []),
        *([RandomFlip()] if config.flip else []),
        Normalize(),
        *([Mixup(num_classes, config.mixup)] if config.mixup else []),
        *([Cutmix(num_classes, config.cutmix)] if config.cutmix else []),
    ]
    return Views(tuple(transforms), seed=config.seed)


def _codec(config: ComparisonConfig) -> Codec:
    if config.codec.removeprefix("top").isdigit() and config.codec.startswith("top"):
        return TopK(int(config.codec[3:]), temperatures=(config.temperature,))
    return Dense(config.codec)


def _check(config: ComparisonConfig, train: Dataset) -> None:
    counts = ("short_epochs", "long_epochs", "few_epochs", "teacher_epochs", "seeds", "batch_size")
    at_least(1, fields(config, *counts) | fields(config.views, "num_views", prefix="views."))
    positive(fields(config, "learning_rate"))
    if config.batch_size > len(train):
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} examples")
