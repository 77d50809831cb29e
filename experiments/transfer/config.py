"""Configuration of experiments.transfer."""

import dataclasses
from typing import Any

from experiments.common.validation import field, validate

REGIMES = ("few_labels", "left_out", "noise", "capacity")


@dataclasses.dataclass
class Config:
    """The experiment. 0 or an empty tuple stands for the default of the data set.

    Attributes:
      dataset: `digits`, `fashion_mnist`, or a name that `jaxkd.data.images` knows.
      data_dir: folder of tensorflow-datasets, empty for its default.
      mock: if positive, number of mock examples of the data set's shape and classes instead.
      regimes: some of `few_labels`, `left_out`, `noise` and `capacity`, separated by commas.
      alpha: weight of the teacher where there are labels too.
      temperature: temperature of the distillation.
      label_smoothing: smoothing of the labels in the arm that has no teacher.
      batch_size: number of examples in a batch, of all training.
      learning_rate: peak of the cosine, for all students and teachers.
      epochs: number of passes over all training examples; students that see fewer make as many
        steps.
      teacher_epochs: number of passes of the teachers, likewise.
      seeds: number of students of each arm.
      width: width of the student's hidden layer.
      teacher_width: channels of the teacher's first convolution; the second has twice as many.
      labels_per_class: points of the curve over labels.
      left_out_classes: classes, each of which is left out of a transfer set of its own.
      only_classes: classes of the transfer set that lacks all others.
      noise: shares of the training labels that are replaced by wrong ones.
      teacher_widths: widths of the teachers of one student.
      assistant_width: width of the network between the largest of them and the student.
    """

    dataset: str = "fashion_mnist"
    data_dir: str = ""
    mock: int = field(0, ge=0)
    regimes: str = field(",".join(REGIMES), choices=REGIMES, several=True)
    alpha: float = field(0.9, ge=0, le=1)
    temperature: float = field(2.0, gt=0)
    label_smoothing: float = field(0.1, ge=0, le=1)
    batch_size: int = field(0, ge=1, unset=0)
    learning_rate: float = field(0.0, gt=0, unset=0)
    epochs: int = field(0, ge=1, unset=0)
    teacher_epochs: int = field(0, ge=1, unset=0)
    seeds: int = field(0, ge=1, unset=0)
    width: int = field(0, ge=1, unset=0)
    teacher_width: int = field(16, ge=1)
    labels_per_class: tuple[int, ...] = field((), ge=1, unset=())
    left_out_classes: tuple[int, ...] = field((3, 6, 9), ge=0)
    only_classes: tuple[int, ...] = field((7, 8), ge=0)
    noise: tuple[float, ...] = field((0.0, 0.2, 0.4, 0.6), ge=0, lt=1)
    teacher_widths: tuple[int, ...] = field((4, 16, 32), ge=1)
    assistant_width: int = field(16, ge=1)


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
"""Defaults of the data sets for what the configuration leaves open."""


def complete(config: Config) -> Config:
    """Checks the configuration and fills in the data set's defaults for what it leaves open."""
    validate(config)
    if config.mock and config.dataset == "digits":
        raise ValueError(
            f"mock={config.mock} with dataset='digits': the digits need no mock examples"
        )
    defaults = DIGITS if config.dataset == "digits" else IMAGES
    given = {name: getattr(config, name) or value for name, value in defaults.items()}
    return dataclasses.replace(config, **given, noise=tuple(map(float, config.noise)))
