"""Configuration of experiments.torch_teacher."""

import dataclasses


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      epochs: of the teacher.
    """

    epochs: int = 24
