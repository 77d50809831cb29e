"""Digits: the demonstration. Ends in under two minutes on two cores; needs no download.

Scikit-learn's 1,797 handwritten digits of 8×8 pixels. A small convolutional teacher answers once;
perceptrons learn from its answers with few labels and a pool without labels, and with all labels.

Command:
  python -m experiments.digits --workdir=runs/digits

Writes `report.html`, the tables as CSV, the curves for TensorBoard, and prints the tables. Killed
and started again with the same command, it goes on where it was.
"""

import dataclasses
import pathlib

from flax import nnx

import jaxkd
from experiments import comparison, findings, launch
from jaxkd.data import digits
from jaxkd.models import CNN, MLP
from jaxkd.training import is_first


@dataclasses.dataclass
class StudentConfig:
    """A perceptron with one hidden layer.

    Attributes:
      width: of the hidden layer.
    """

    width: int = 32


@dataclasses.dataclass
class TeacherConfig:
    """A convolutional network.

    Attributes:
      width: channels of the first convolution; the second has twice as many.
      hidden: width of the layer before the logits.
      dropout_rate: before the logits.
    """

    width: int = 16
    hidden: int = 64
    dropout_rate: float = 0.3


@dataclasses.dataclass
class Config(comparison.ComparisonConfig):
    """The experiment. Fields of the comparison that fit 1,437 training images."""

    batch_size: int = 64
    learning_rate: float = 5e-3
    short_epochs: int = 10
    long_epochs: int = 100
    few_epochs: int = 60
    labels_per_class: int = 3
    teacher_epochs: int = 40
    student: StudentConfig = dataclasses.field(default_factory=StudentConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""

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

    compared = comparison.run(
        config,
        workdir,
        digits.load("train"),
        digits.load("test"),
        make_teacher,
        make_student,
        steps_per_call=100,
        yes=launch.YES.value,
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
    )
    if not is_first():  # one writes for all
        return
    report = findings.write(compared, workdir, "Distilling on digits")
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


if __name__ == "__main__":
    launch.run(main, Config(), "runs/digits")
