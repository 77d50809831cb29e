"""The comparison of the small experiments: is a student better off with a teacher?

Regimes: all labels with a short and a long schedule, and few labels with a large unlabeled pool.
Arms: labels, labels with smoothing, distilled online, distilled from the cache, and the control
whose teacher had only the few labels. `experiments.transfer` shows where the knowledge comes from.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from experiments.common.teachers import train_teacher
from experiments.common.validation import field, validate
from jaxkd import Network
from jaxkd.cache import Cache
from jaxkd.data import Dataset, split_labels
from jaxkd.study import Arm, Study, StudyResults
from jaxkd.study._wording import spread_over
from jaxkd.study.runner import file_name
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Codec, Dense, TopK
from jaxkd.training import bind_config
from jaxkd.views import Cutmix, Mixup, Normalize, RandomCrop, RandomFlip, Views

CACHED = "distilled from the cache"
POOL = "distilled on the pool, cached"


@dataclasses.dataclass
class ViewsConfig:
    """How networks see training examples.

    Attributes:
      crop: pixels of padding for random crops, 0 for none.
      flip: whether to mirror at random.
      mixup: alpha of mixup, 0 for none.
      cutmix: alpha of cutmix, 0 for none; not together with mixup.
      num_views: number of different views of an example, each of which the cache holds.
      seed: seed of the views.
    """

    crop: int = field(0, ge=0)
    flip: bool = False
    mixup: float = field(0.0, ge=0)
    cutmix: float = field(0.0, ge=0)
    num_views: int = field(1, ge=1)
    seed: int = 0


@dataclasses.dataclass
class ComparisonConfig:
    """Configuration of a comparison.

    Attributes:
      alpha: weight of the teacher.
      temperature: temperature of the distillation.
      label_smoothing: of the arm with smoothed labels.
      codec: `float32`, `bfloat16`, `float16`, `int8`, or `top3`, `top16`, … for the k largest
        logits.
      batch_size: number of examples in a batch of all training.
      learning_rate: peak of the cosine, for all arms.
      short_epochs: passes of the short schedule, with all labels.
      long_epochs: passes of the long schedule, with all labels.
      few_epochs: passes over the pool in the regime with few labels; the arms that see the
        labeled examples alone make as many steps.
      labels_per_class: number of labels of each class in the regime with few of them.
      teacher_epochs: passes of the teacher.
      seeds: number of runs of each arm.
      views: how networks see training examples.
    """

    alpha: float = field(0.9, ge=0, le=1)
    temperature: float = field(4.0, gt=0)
    label_smoothing: float = field(0.1, ge=0, le=1)
    codec: str = "float32"
    batch_size: int = field(128, ge=1)
    learning_rate: float = field(1e-3, gt=0)
    short_epochs: int = field(5, ge=1)
    long_epochs: int = field(30, ge=1)
    few_epochs: int = field(10, ge=1)
    labels_per_class: int = field(100, ge=1)
    teacher_epochs: int = field(10, ge=1)
    seeds: int = field(5, ge=1)
    views: ViewsConfig = dataclasses.field(default_factory=ViewsConfig)


@dataclasses.dataclass(frozen=True)
class ComparisonResults:
    """All results of a comparison, which the report shows.

    Attributes:
      config: configuration of the comparison.
      study: what all arms share, with the data `train`, `few`, `pool` and `test`.
      student: untrained student.
      teacher: trained teacher.
      teacher_logits: its logits on the test examples.
      control_logits: those of the teacher of few labels.
      cache: outputs of the teacher.
      short: arms with all labels, short schedule.
      long: arms with all labels, long schedule.
      few: arms with few labels.
    """

    config: ComparisonConfig
    study: Study
    student: Network
    teacher: Network
    teacher_logits: np.ndarray
    control_logits: np.ndarray
    cache: Cache
    short: StudyResults
    long: StudyResults
    few: StudyResults

    @property
    def labels(self) -> np.ndarray:
        """Labels of the test examples."""
        return self.study.data["test"].labels

    @property
    def caption(self) -> str:
        """Caption of a table of these results."""
        return f"{spread_over(len(self.study.seeds))}, one teacher, last step."


def run(
    config: ComparisonConfig,
    workdir: pathlib.Path,
    train: Dataset,
    test: Dataset,
    make_teacher: Callable[[int], Network],
    make_student: Callable[[int], Network],
    runtime: Runtime,
) -> ComparisonResults:
    """Trains the teachers, builds the caches, runs all arms.

    Args:
      config: what to compare; one that cannot run is refused before anything is trained.
      workdir: folder of all runs; an interrupted run is resumed, one of another configuration is
        refused.
      train: training examples, with all labels.
      test: held-out examples.
      make_teacher: function from a seed to an untrained teacher.
      make_student: function from a seed to an untrained student.
      runtime: devices, tracing and consent.

    Returns:
      The results of all arms.

    Raises:
      ValueError: a batch larger than the data.
    """
    validate(config)
    if config.batch_size > len(train):
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} examples")
    few_ids = split_labels(train, config.labels_per_class, seed=0)
    few, pool = train.select(few_ids), train.with_labels(few_ids)
    codec = _codec(config)
    codec.layout((train.num_classes,))
    base = Study(
        {"train": train, "few": few, "pool": pool, "test": test},
        make_student,
        steps=1,
        workdir=workdir,
        views=views_of(config.views, train.num_classes),
        eval_views=Views((Normalize(),)),
        num_views=config.views.num_views,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seeds=config.seeds,
        codec=codec,
        population=False,
        steps_per_call=100,
        runtime=runtime,
    )
    smoothing = {"label_smoothing": config.label_smoothing}
    options = {"alpha": config.alpha, "temperature": config.temperature}
    kd = functools.partial(Arm, "kd", options)
    arms = [Arm("labels"), Arm("label smoothing", smoothing, name="label smoothing")]
    # Bound to the configuration only now that it is known to be valid.
    bind_config(workdir, dataclasses.asdict(config))

    def steps(data: Dataset, epochs: int) -> int:
        return epochs * max(1, len(data) // config.batch_size)

    teacher_steps = steps(train, config.teacher_epochs)
    teacher = train_teacher(base, make_teacher(100), train, teacher_steps)
    # The control has as many steps as a student of the same regime, on the few labels alone.
    few_steps = steps(pool, config.few_epochs)
    control = train_teacher(base, make_teacher(101), few, few_steps, name="control_teacher")
    study = base.replace(teacher=teacher, caches=workdir / "caches")
    regimes = {
        "short": (
            steps(train, config.short_epochs),
            [*arms, kd(name="distilled online", online=True), kd(name=CACHED)],
        ),
        "long": (steps(train, config.long_epochs), [*arms, kd(name=CACHED)]),
        "few labels": (
            few_steps,
            [
                *(dataclasses.replace(arm, data="few") for arm in arms),
                kd(name="distilled on the same labels", data="few"),
                kd(name="distilled on the pool, online", data="pool", online=True),
                kd(name=POOL, data="pool"),
                kd(name="control: teacher of few labels", data="pool", teacher=control),
            ],
        ),
    }
    results = {
        regime: study.replace(arms=each, steps=count, workdir=workdir / file_name(regime)).run()
        for regime, (count, each) in regimes.items()
    }
    evaluator = study.evaluator("test")
    return ComparisonResults(
        config=config,
        study=study,
        student=make_student(0),
        teacher=teacher,
        teacher_logits=evaluator.logits(teacher),
        control_logits=evaluator.logits(control),
        cache=study.caches.get(teacher, train, study.views, config.views.num_views),
        short=results["short"],
        long=results["long"],
        few=results["few labels"],
    )


def views_of(config: ViewsConfig, num_classes: int) -> Views:
    """Returns the views of a configuration.

    Raises:
      ValueError: both mixtures at once.
    """
    if config.mixup and config.cutmix:
        raise ValueError(
            f"views.mixup={config.mixup} and views.cutmix={config.cutmix}: choose one, set the "
            "other to 0"
        )
    transforms = (
        RandomCrop(config.crop) if config.crop else None,
        RandomFlip() if config.flip else None,
        Normalize(),
        Mixup(num_classes, config.mixup) if config.mixup else None,
        Cutmix(num_classes, config.cutmix) if config.cutmix else None,
    )
    return Views(tuple(filter(None, transforms)), seed=config.seed)


def _codec(config: ComparisonConfig) -> Codec:
    if config.codec.removeprefix("top").isdigit() and config.codec.startswith("top"):
        return TopK(int(config.codec[3:]), temperatures=(config.temperature,))
    return Dense(config.codec)
