"""Training of experiments.compress."""

import dataclasses
import pathlib
from typing import Any

from flax import nnx

import jaxkd
from experiments.common.comparison import views_of
from experiments.common.runtime import Runtime
from experiments.common.study import Study
from experiments.compress import training as compress_runs
from experiments.compress.config import Config, Width, check
from experiments.compress.steps import LAST, pipelines, ranks_of
from experiments.datasets import fashion_mnist
from jaxkd import compression
from jaxkd.data import Dataset, digits
from jaxkd.models import CNN
from jaxkd.training import bind_config
from jaxkd.views import Normalize, Views


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> compress_runs.Compressed:
    """Trains the teacher, and goes all pipelines.

    Args:
      config: the experiment.
      workdir: everything is kept below it; a run that was cut is taken up, one of another
        configuration (pipelines aside) is refused.
      runtime: devices, tracing and consent.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: the data are not there.
      ValueError: a configuration that cannot run, before anything is trained.
    """
    check(config)
    chosen = pipelines(config.pipelines)
    train, test = load(config)
    shape = train.inputs.shape[1:]

    def maker(width: Width) -> Any:
        def make(seed: int) -> nnx.Module:
            channels = (width.channels, 2 * width.channels)
            return CNN(shape, channels, width.hidden, train.num_classes, rngs=nnx.Rngs(seed))

        return make

    make_student = maker(config.student)
    if any("low_rank" in steps for steps in chosen):
        ranks_of(make_student(0), config.rank)
    if any(steps[-1] in LAST for steps in chosen):
        compression.quantize(make_student(0))
    ignored = ("pipelines", "repeats")
    known = {k: v for k, v in dataclasses.asdict(config).items() if k not in ignored}
    bind_config(workdir, known)
    study = Study(
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
    return compress_runs.run(
        config, study, train, test, maker(config.teacher), make_student, chosen
    )


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test examples."""
    if config.dataset == "digits":
        train, test = digits.load("train"), digits.load("test")
    else:
        folder = config.data_dir or None
        train, test = (fashion_mnist.load(x, data_dir=folder) for x in ("train", "test"))
    least = config.batch_size * compress_runs.CALIBRATION
    if len(train) < least:
        raise ValueError(
            f"{len(train)} training examples are too few for the {compress_runs.CALIBRATION} "
            f"batches of {config.batch_size} that ranges are found on: choose a smaller batch_size"
        )
    return train, test
