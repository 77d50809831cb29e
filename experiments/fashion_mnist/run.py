"""Training of experiments.fashion_mnist."""

import pathlib

from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common import comparison
from experiments.common.validation import validate
from experiments.fashion_mnist.config import Config, StudentConfig, TeacherConfig
from jaxkd.models import CNN, MLP, ConvNet, ResNet
from jaxkd.study.runtime import Runtime


def make_teacher(config: TeacherConfig, seed: int) -> jaxkd.Network:
    """Makes an untrained teacher."""
    rngs = nnx.Rngs(seed)
    if config.name == "cnn":
        width = config.width
        return jaxkd.from_nnx(CNN((28, 28, 1), (width, 2 * width), 4 * width, 10, rngs=rngs))
    if config.name.startswith("resnet") and config.name[6:].isdigit():
        return jaxkd.from_nnx(ResNet(int(config.name[6:]), 1, 10, rngs=rngs))
    raise ValueError(f"teacher.name must be cnn, resnet8, resnet20, …, not {config.name!r}")


def make_student(config: StudentConfig, seed: int) -> jaxkd.Network:
    """Makes an untrained student."""
    rngs = nnx.Rngs(seed)
    if config.name == "mlp":
        return jaxkd.from_nnx(MLP(784, (config.width,), 10, rngs=rngs))
    if config.name == "cnn":
        width = config.width
        return jaxkd.from_nnx(CNN((28, 28, 1), (width, width), 4 * width, 10, rngs=rngs))
    if config.name == "convnet":
        widths = (config.width // 4, config.width // 2, config.width)
        return jaxkd.from_nnx(ConvNet(1, 10, widths=widths, rngs=rngs))
    raise ValueError(f"student.name must be mlp, cnn or convnet, not {config.name!r}")


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> comparison.ComparisonResults:
    """Trains the teachers and all students."""
    # What is invalid is refused before data are read or a directory is made.
    validate(config)
    make_teacher(config.teacher, 0)
    train, test = (
        datasets.load_images("fashion_mnist", split, data_dir=config.data_dir)
        for split in ("train", "test")
    )
    return comparison.run(
        config,
        workdir,
        train,
        test,
        lambda seed: make_teacher(config.teacher, seed),
        lambda seed: make_student(config.student, seed),
        runtime,
    )
