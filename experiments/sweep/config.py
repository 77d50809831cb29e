"""Configuration of experiments.sweep."""

import dataclasses
from typing import Any

from experiments.common.validation import field, validate


@dataclasses.dataclass
class Config:
    """Configuration of the experiment. 0 stands for the data set's own number.

    Attributes:
      dataset: `digits` or `fashion_mnist`.
      data_dir: folder of tensorflow-datasets, empty for its own default.
      regime: `few`, a few labels and a large unlabeled pool, or `all` labels.
      temperatures: T, the rows of the map.
      alphas: weight of the teacher, from 0 to 1, the columns of the map.
      learning_rates: a third axis, peaks of the cosine; empty for the data set's own.
      seeds: number of students of each setting.
      default_temperature: temperature of the default setting, which is not chosen.
      default_alpha: weight of the teacher in the default setting.
      width: width of the student's hidden layer.
      epochs: passes of the students over the training examples.
      teacher_epochs: passes of the teacher, over all examples with all labels.
      batch_size: number of examples in a batch of all training.
      labels_per_class: number of labels of each class in the regime with few of them.
      validation_per_class: number of training examples of each class held out to choose by.
      chunk: largest number of students in one program, where memory is short; 0 for all of them.
    """

    dataset: str = field("digits", choices=("digits", "fashion_mnist"))
    data_dir: str = ""
    regime: str = field("few", choices=("few", "all"))
    temperatures: tuple[float, ...] = field((0.5, 1.0, 2.0, 4.0, 8.0, 16.0), gt=0)
    alphas: tuple[float, ...] = field((0.1, 0.3, 0.5, 0.7, 0.9, 1.0), ge=0, le=1)
    learning_rates: tuple[float, ...] = field((), gt=0, unset=())
    seeds: int = field(0, ge=1, unset=0)
    default_temperature: float = field(4.0, gt=0)
    default_alpha: float = field(0.9, ge=0, le=1)
    width: int = field(0, ge=1, unset=0)
    epochs: int = field(0, ge=1, unset=0)
    teacher_epochs: int = field(0, ge=1, unset=0)
    batch_size: int = field(0, ge=1, unset=0)
    labels_per_class: int = field(0, ge=1, unset=0)
    validation_per_class: int = field(0, ge=1, unset=0)
    chunk: int = field(0, ge=0)


OWN: dict[str, dict[str, int | float]] = {
    "digits": {
        "seeds": 5,
        "width": 32,
        "epochs": 60,
        "teacher_epochs": 40,
        "batch_size": 64,
        "labels_per_class": 3,
        "validation_per_class": 40,
        "learning_rate": 5e-3,
        "dropout_rate": 0.3,
    },
    "fashion_mnist": {
        "seeds": 3,
        "width": 128,
        "epochs": 10,
        "teacher_epochs": 10,
        "batch_size": 128,
        "labels_per_class": 100,
        "validation_per_class": 1000,
        "learning_rate": 3e-3,
        "dropout_rate": 0.0,
    },
}
"""What the data sets bring along for whatever the configuration leaves open."""


def complete(config: Config) -> Config:
    """Checks the configuration and fills in the data set's defaults for what it leaves open."""
    validate(config)
    own = OWN[config.dataset]
    values: dict[str, Any] = {
        name: getattr(config, name) or own[name] for name in own if hasattr(config, name)
    }
    return dataclasses.replace(
        config,
        **values,
        temperatures=tuple(map(float, config.temperatures)),
        alphas=tuple(map(float, config.alphas)),
        learning_rates=tuple(map(float, config.learning_rates or (own["learning_rate"],))),
    )
