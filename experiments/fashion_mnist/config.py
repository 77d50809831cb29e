"""Configuration of experiments.fashion_mnist."""

import dataclasses

from experiments.common import comparison
from experiments.common.validation import field


@dataclasses.dataclass
class StudentConfig:
    """The student.

    Attributes:
      name: `mlp`, one hidden layer; `cnn`, two convolutions and a hidden layer; or `convnet`, three
        convolutions and a global average, which every method can teach.
      width: of the hidden layer; of each convolution for `cnn`; of the last one for `convnet`.
    """

    name: str = field("mlp", choices=("mlp", "cnn", "convnet"))
    width: int = field(128, ge=1)


@dataclasses.dataclass
class TeacherConfig:
    """The teacher.

    Attributes:
      name: `cnn`, about 100,000 parameters at width 16; or `resnet8`, `resnet20`, … .
      width: channels of the first convolution of `cnn`.
    """

    name: str = "cnn"
    width: int = field(16, ge=1)


@dataclasses.dataclass
class Config(comparison.ComparisonConfig):
    """The experiment.

    Attributes:
      data_dir: of tensorflow-datasets, empty for its own default.
      student: the student.
      teacher: the teacher.
    """

    temperature: float = field(2.0, gt=0)
    learning_rate: float = field(3e-3, gt=0)
    data_dir: str = ""
    student: StudentConfig = dataclasses.field(default_factory=StudentConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
