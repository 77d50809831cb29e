"""Training of experiments.compress: a teacher, its cache, and all pipelines for every seed."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common.comparison import views_of
from experiments.common.study import Study
from experiments.common.teachers import train_teacher
from experiments.compress.config import Config, Width, check
from experiments.compress.pipelines import FINAL_STEPS, Steps, parse
from experiments.compress.steps import Stage, layer_ranks
from experiments.compress.tree import CALIBRATION_BATCHES, NetworkTree
from jaxkd import Network, compression
from jaxkd.data import Dataset
from jaxkd.models import CNN
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config
from jaxkd.views import Normalize, Views


@dataclasses.dataclass(frozen=True)
class CompressionResults:
    """All results of the experiment, which the report shows.

    Attributes:
      config: configuration of the experiment.
      study: what all trainings have in common.
      train: labeled examples.
      test: held-out examples.
      teacher: trained teacher.
      teacher_logits: its logits on the test examples.
      logits: by pipeline the logits on the test examples, `[seeds, examples, num_classes]`.
      stages: by pipeline the first seed's network.
    """

    config: Config
    study: Study
    train: Dataset
    test: Dataset
    teacher: Network
    teacher_logits: np.ndarray
    logits: dict[Steps, np.ndarray]
    stages: dict[Steps, Stage]

    def accuracies(self, steps: Steps) -> np.ndarray:
        """Returns the test accuracy of each seed."""
        labels = self.test.labels
        return np.array([jaxkd.metrics.accuracy(x, labels) for x in self.logits[steps]])

    @property
    def teacher_accuracy(self) -> float:
        """Test accuracy of the teacher."""
        return jaxkd.metrics.accuracy(self.teacher_logits, self.test.labels)


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> CompressionResults:
    """Trains the teacher, caches its logits, and runs all pipelines.

    Args:
      config: configuration of the experiment.
      workdir: folder for everything; finished runs are read, interrupted ones resumed, and a work
        directory of another configuration (pipelines aside) is refused.
      runtime: devices and tracing.

    Returns:
      The networks and their logits.

    Raises:
      FileNotFoundError: the data are missing.
      ValueError: a configuration that cannot run, before anything is trained.
    """
    check(config)
    pipelines = parse(config.pipelines)
    train, test = _load(config)
    make_student = functools.partial(_untrained, config.student, train)
    if any("low_rank" in steps for steps in pipelines):
        layer_ranks(make_student(0), config.rank)
    if any(steps[-1] in FINAL_STEPS for steps in pipelines):
        compression.quantize(make_student(0))
    ignored = ("pipelines", "repeats")
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k not in ignored})
    study = _study(config, workdir, runtime, train, test, make_student)
    teacher = jaxkd.from_nnx(_untrained(config.teacher, train, 100))
    teacher_steps = config.teacher_epochs * max(1, len(train) // config.batch_size)
    teacher = train_teacher(study, teacher, train, teacher_steps)
    cache = jaxkd.cache.build(
        workdir / "cache", teacher, train, study.views, num_views=config.views.num_views
    )
    tree = NetworkTree(config, study, train, cache, make_student)
    logits = {
        steps: np.stack([tree.logits(steps, seed) for seed in study.seeds]) for steps in pipelines
    }
    return CompressionResults(
        config=config,
        study=study,
        train=train,
        test=test,
        teacher=teacher,
        teacher_logits=study.test_evaluator.logits(teacher),
        logits=logits,
        stages={steps: tree.stage(steps, study.seeds[0]) for steps in pipelines},
    )


def _load(config: Config) -> tuple[Dataset, Dataset]:
    """Loads training and test examples."""
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir)
        for split in ("train", "test")
    )
    if len(train) < config.batch_size * CALIBRATION_BATCHES:
        raise ValueError(
            f"{len(train)} training examples are too few for the {CALIBRATION_BATCHES} batches of "
            f"{config.batch_size} from which ranges of activations are computed: choose a smaller "
            "batch_size"
        )
    return train, test


def _untrained(width: Width, train: Dataset, seed: int) -> nnx.Module:
    channels, shape = (width.channels, 2 * width.channels), train.inputs.shape[1:]
    return CNN(shape, channels, width.hidden, train.num_classes, rngs=nnx.Rngs(seed))


def _study(
    config: Config,
    workdir: pathlib.Path,
    runtime: Runtime,
    train: Dataset,
    test: Dataset,
    make_student: Callable[[int], nnx.Module],
) -> Study:
    return Study(
        workdir=workdir,
        make_student=lambda seed: jaxkd.from_nnx(make_student(seed)),
        test=test,
        views=views_of(config.views, train.num_classes),
        test_views=Views((Normalize(),)),
        num_views=config.views.num_views,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seeds=tuple(range(config.seeds)),
        steps_per_call=20,
        runtime=runtime,
    )
