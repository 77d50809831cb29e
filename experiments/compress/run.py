"""Training of experiments.compress: a teacher, and a study of all pipelines."""

import dataclasses
import pathlib

import numpy as np
from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common.comparison import views_of
from experiments.common.teachers import train_teacher
from experiments.common.validation import validate
from experiments.compress.config import Config, Width
from experiments.compress.pipelines import FINAL_STEPS, parse
from jaxkd import Network, compression
from jaxkd.data import Dataset
from jaxkd.models import CNN
from jaxkd.study import Study, StudyResults
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config
from jaxkd.views import Normalize, Views

TEACHER = "teacher"
"""The teacher's name among the networks."""


@dataclasses.dataclass(frozen=True)
class CompressionResults:
    """All results of the experiment, which the report shows.

    Attributes:
      config: configuration of the experiment.
      train: labeled examples.
      test: held-out examples.
      study: what all trainings have in common.
      results: results of all pipelines, on the test examples.
      networks: the teacher and the first seed's network of every pipeline.
      teacher_logits: logits of the teacher on the test examples.
    """

    config: Config
    train: Dataset
    test: Dataset
    study: Study
    results: StudyResults
    networks: dict[str, Network]
    teacher_logits: np.ndarray

    @property
    def teacher_accuracy(self) -> float:
        """Test accuracy of the teacher."""
        return jaxkd.metrics.accuracy(self.teacher_logits, self.test.labels)


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> CompressionResults:
    """Trains the teacher, and runs all pipelines.

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
    validate(config)
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir)
        for split in ("train", "test")
    )
    if config.batch_size > len(train):
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} examples")
    an_epoch = len(train) // config.batch_size
    base = Study(
        {"train": train, "test": test},
        lambda seed: jaxkd.from_nnx(_untrained(config.student, train, seed)),
        arms=parse(config, an_epoch),
        seeds=config.seeds,
        steps=config.epochs * an_epoch,
        workdir=workdir,
        views=views_of(config.views, train.num_classes),
        eval_views=Views((Normalize(),)),
        num_views=config.views.num_views,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        population=False,
        evaluations=1,
        runtime=runtime,
    )
    _check_student(_untrained(config.student, train, 0), config)
    ignored = ("pipelines", "repeats")
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k not in ignored})
    untrained = jaxkd.from_nnx(_untrained(config.teacher, train, 100))
    teacher = train_teacher(base, untrained, train, config.teacher_epochs * an_epoch)
    study = base.replace(teacher=teacher)
    results = study.run()
    return CompressionResults(
        config=config,
        train=train,
        test=test,
        study=study,
        results=results,
        networks={TEACHER: teacher, **{name: results.network(name) for name in results.arms}},
        teacher_logits=study.evaluator("test").logits(teacher),
    )


def _check_student(student: nnx.Module, config: Config) -> None:
    """Refuses a student that cannot be compressed, before the teacher is trained."""
    if "low_rank" in config.pipelines:
        compression.choose_ranks(student, rank=config.rank, where=lambda path, _: path != "head")
    if any(step in config.pipelines for step in FINAL_STEPS):
        compression.quantize(student)


def _untrained(width: Width, train: Dataset, seed: int) -> nnx.Module:
    channels, shape = (width.channels, 2 * width.channels), train.inputs.shape[1:]
    return CNN(shape, channels, width.hidden, train.num_classes, rngs=nnx.Rngs(seed))
