"""Configuration of experiments.transfer."""

import dataclasses
import math
from typing import Any

from experiments.common.validation import at_least, fields, positive

REGIMES = ("few_labels", "left_out", "noise", "capacity")


@dataclasses.dataclass
class Config:
    """The experiment. Where 0 or nothing stands, the data set's own number is taken.

    Attributes:
      dataset: `digits`, `fashion_mnist`, or a name that `jaxkd.data.images` knows.
      data_dir: of tensorflow-datasets, empty for its own default.
      mock: if positive, so many made-up examples of the data set's shape and classes instead.
      regimes: which of `few_labels`, `left_out`, `noise` and `capacity`, separated by commas.
      alpha: weight of the teacher where there are labels too.
      temperature: of the distillation.
      label_smoothing: of the rival that needs no teacher.
      batch_size: of all training.
      learning_rate: peak of the cosine, for all students and teachers.
      epochs: passes over all training examples; students that see fewer make as many steps.
      teacher_epochs: likewise of the teachers.
      seeds: students of each arm.
      width: of the student's hidden layer.
      teacher_width: channels of the teacher's first convolution; the second has twice as many.
      labels_per_class: points of the curve over labels.
      left_out_classes: each is left out of a transfer set of its own.
      only_classes: those of the transfer set that lacks all others.
      noise: shares of the training labels that are replaced by wrong ones.
      teacher_widths: of the teachers that one student is taught by.
      assistant_width: of the network between the largest of them and the student.
    """

    dataset: str = "fashion_mnist"
    data_dir: str = ""
    mock: int = 0
    regimes: str = ",".join(REGIMES)
    alpha: float = 0.9
    temperature: float = 2.0
    label_smoothing: float = 0.1
    batch_size: int = 0
    learning_rate: float = 0.0
    epochs: int = 0
    teacher_epochs: int = 0
    seeds: int = 0
    width: int = 0
    teacher_width: int = 16
    labels_per_class: tuple[int, ...] = ()
    left_out_classes: tuple[int, ...] = (3, 6, 9)
    only_classes: tuple[int, ...] = (7, 8)
    noise: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)
    teacher_widths: tuple[int, ...] = (4, 16, 32)
    assistant_width: int = 16


DIGITS: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 5e-3,
    "epochs": 30,
    "teacher_epochs": 30,
    "seeds": 5,
    "width": 32,
    "labels_per_class": (1, 3, 10, 30, 100),
}


IMAGES: dict[str, Any] = {
    "batch_size": 128,
    "learning_rate": 3e-3,
    "epochs": 3,
    "teacher_epochs": 2,
    "seeds": 3,
    "width": 128,
    "labels_per_class": (10, 30, 100, 300, 1000),
}
"""What the data sets bring along for whatever the configuration leaves open."""


def complete(config: Config) -> Config:
    """The configuration with the data set's own numbers for what it leaves open.

    Raises:
      ValueError: what cannot run on any data; names the field.
    """
    own = DIGITS if config.dataset == "digits" else IMAGES
    given = {name: getattr(config, name) or value for name, value in own.items()}
    config = dataclasses.replace(config, **given)
    regimes = config.regimes.split(",")
    if unknown := [name for name in regimes if name not in REGIMES]:
        raise ValueError(f"regimes must be some of {', '.join(REGIMES)}, not {unknown}")
    counts = ("batch_size", "epochs", "teacher_epochs", "seeds", "width", "teacher_width")
    at_least(1, fields(config, *counts, "assistant_width"))
    if config.mock < 0 or (config.mock and config.dataset == "digits"):
        raise ValueError(
            f"mock={config.mock} with dataset={config.dataset!r}: mock must be at least 0, and the "
            "digits need no made-up examples"
        )
    positive(fields(config, "learning_rate"))
    for name, low, high in [
        ("labels_per_class", 1, math.inf),
        ("left_out_classes", 0, math.inf),
        ("only_classes", 0, math.inf),
        ("noise", 0, 1),
        ("teacher_widths", 1, math.inf),
    ]:
        values = getattr(config, name)
        kinds = (int, float) if name == "noise" else (int,)
        numbers = values and all(type(value) in kinds for value in values)
        if not numbers or len(set(values)) < len(values):
            raise ValueError(
                f"{name} must be numbers separated by commas, at least one and none twice, not "
                f"{values}"
            )
        if bad := [value for value in values if not low <= value < high]:
            raise ValueError(f"{name} must be at least {low} and below {high}, not {bad}")
    return dataclasses.replace(config, noise=tuple(map(float, config.noise)))
