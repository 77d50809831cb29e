"""Fashion-MNIST: few labels, long schedules, and an honest look at where a teacher helps.

The real data set through tensorflow-datasets, decoded once into memory. A convolutional teacher
(or a ResNet) answers once; a perceptron (or a tiny convolutional network) learns from its answers.

Commands:
  # Where there is internet and TensorFlow, tensorflow-datasets downloads the data itself. Elsewhere
  # prepare it from the files of Debian's package dataset-fashion-mnist:
  python -m experiments.datasets.fashion_mnist prepare --data_dir=data
  python -m experiments.fashion_mnist --config.data_dir=data --workdir=runs/fashion_mnist
  # Another student, another teacher, augmented views:
  python -m experiments.fashion_mnist --config.data_dir=data --config.student.name=cnn \
      --config.teacher.name=resnet20 --config.views.crop=2 --config.views.num_views=10 --workdir=…
  # Any method by its name on the same images: experiments.cifar --config.dataset=fashion_mnist

Expected (5 seeds, 2 cores): with 1,000 labels the student gains several points from the unlabeled
pool; with all labels and a short schedule the teacher adds next to nothing. The README has the
numbers. Killed and started again with the same command, it goes on where it was.
"""

import dataclasses
import pathlib

from flax import nnx

import jaxkd
from experiments import comparison, findings, launch
from experiments.datasets import fashion_mnist
from jaxkd.models import CNN, MLP, ConvNet, ResNet
from jaxkd.training import is_first


@dataclasses.dataclass
class StudentConfig:
    """The student.

    Attributes:
      name: `mlp`, one hidden layer; `cnn`, two convolutions and a hidden layer; or `convnet`, three
        convolutions and a global average, which every method can teach.
      width: of the hidden layer; of each convolution for `cnn`; of the last one for `convnet`.
    """

    name: str = "mlp"
    width: int = 128


@dataclasses.dataclass
class TeacherConfig:
    """The teacher.

    Attributes:
      name: `cnn`, about 100,000 parameters at width 16; or `resnet8`, `resnet20`, … .
      width: channels of the first convolution of `cnn`.
    """

    name: str = "cnn"
    width: int = 16


@dataclasses.dataclass
class Config(comparison.ComparisonConfig):
    """The experiment.

    Attributes:
      data_dir: of tensorflow-datasets, empty for its own default.
      student: the student.
      teacher: the teacher.
    """

    temperature: float = 2.0
    learning_rate: float = 3e-3
    data_dir: str = ""
    student: StudentConfig = dataclasses.field(default_factory=StudentConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)


def make_teacher(config: TeacherConfig, seed: int) -> jaxkd.Network:
    """A fresh teacher."""
    rngs = nnx.Rngs(seed)
    if config.name == "cnn":
        width = config.width
        return jaxkd.from_nnx(CNN((28, 28, 1), (width, 2 * width), 4 * width, 10, rngs=rngs))
    if config.name.startswith("resnet") and config.name[6:].isdigit():
        return jaxkd.from_nnx(ResNet(int(config.name[6:]), 1, 10, rngs=rngs))
    raise ValueError(f"teacher.name must be cnn, resnet8, resnet20, …, not {config.name!r}")


def make_student(config: StudentConfig, seed: int) -> jaxkd.Network:
    """A fresh student."""
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


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    # Unknown names end here, before data are read or a directory is made.
    make_teacher(config.teacher, 0)
    make_student(config.student, 0)
    train, test = (
        fashion_mnist.load(split, data_dir=config.data_dir or None) for split in ("train", "test")
    )
    compared = comparison.run(
        config,
        workdir,
        train,
        test,
        lambda seed: make_teacher(config.teacher, seed),
        lambda seed: make_student(config.student, seed),
        steps_per_call=100,
        yes=launch.YES.value,
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
    )
    if not is_first():  # one writes for all
        return
    title = (
        f"Distilling on Fashion-MNIST: {config.teacher.name} teaches "
        f"{config.student.name}-{config.student.width}"
    )
    report = findings.write(compared, workdir, title)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


if __name__ == "__main__":
    launch.run(main, Config(), "runs/fashion_mnist")
