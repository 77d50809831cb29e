"""Configuration of experiments.torch_teacher."""

import dataclasses

from experiments.common.validation import field


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      epochs: of the teacher.
    """

    epochs: int = field(24, ge=1)
