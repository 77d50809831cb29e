"""Configuration of experiments.onnx_teacher."""

import dataclasses


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      onnx: file of the teacher; empty to train one.
    """

    onnx: str = ""
