"""Training of experiments.digits."""

import pathlib

from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common import comparison
from experiments.digits.config import Config
from jaxkd.models import CNN, MLP
from jaxkd.study.runtime import Runtime


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> comparison.ComparisonResults:
    """Trains the teachers and all students."""

    def make_teacher(seed: int) -> jaxkd.Network:
        width = config.teacher.width
        return jaxkd.from_nnx(
            CNN(
                (8, 8, 1),
                (width, 2 * width),
                config.teacher.hidden,
                10,
                dropout_rate=config.teacher.dropout_rate,
                rngs=nnx.Rngs(seed),
            )
        )

    def make_student(seed: int) -> jaxkd.Network:
        return jaxkd.from_nnx(MLP(64, (config.student.width,), 10, rngs=nnx.Rngs(seed)))

    return comparison.run(
        config,
        workdir,
        datasets.load_images("digits", "train"),
        datasets.load_images("digits", "test"),
        make_teacher,
        make_student,
        runtime,
    )
