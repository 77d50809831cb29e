"""Configuration of experiments.digits."""

import dataclasses

from experiments.common import comparison


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
