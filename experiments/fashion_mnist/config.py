"""Configuration of experiments.fashion_mnist."""

import dataclasses

from experiments.common import comparison


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
