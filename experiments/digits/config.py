"""Configuration of experiments.digits."""

import dataclasses

from experiments.common import comparison
from experiments.common.validation import field


@dataclasses.dataclass
class StudentConfig:
    """A perceptron with one hidden layer.

    Attributes:
      width: of the hidden layer.
    """

    width: int = field(32, ge=1)


@dataclasses.dataclass
class TeacherConfig:
    """A convolutional network.

    Attributes:
      width: channels of the first convolution; the second has twice as many.
      hidden: width of the layer before the logits.
      dropout_rate: before the logits.
    """

    width: int = field(16, ge=1)
    hidden: int = field(64, ge=1)
    dropout_rate: float = field(0.3, ge=0, lt=1)


@dataclasses.dataclass
class Config(comparison.ComparisonConfig):
    """The experiment. Fields of the comparison that fit 1,437 training images."""

    batch_size: int = field(64, ge=1)
    learning_rate: float = field(5e-3, gt=0)
    short_epochs: int = field(10, ge=1)
    long_epochs: int = field(100, ge=1)
    few_epochs: int = field(60, ge=1)
    labels_per_class: int = field(3, ge=1)
    teacher_epochs: int = field(40, ge=1)
    student: StudentConfig = dataclasses.field(default_factory=StudentConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
