"""Configuration of experiments.sweep."""

import dataclasses
import math
from typing import Any

from experiments.common.validation import at_least, fields


@dataclasses.dataclass
class Config:
    """The experiment. Where 0 stands, the data set's own number is taken.

    Attributes:
      dataset: `digits` or `fashion_mnist`.
      data_dir: of tensorflow-datasets, empty for its own default.
      regime: `few`, a few labels and a large unlabeled pool, or `all` labels.
      temperatures: T, the rows of the map.
      alphas: weight of the teacher, from 0 to 1, the columns of the map.
      learning_rates: a third axis, peaks of the cosine; empty for the data set's own.
      seeds: students of each setting.
      default_temperature: of the setting that nobody chose.
      default_alpha: likewise.
      width: of the student's hidden layer.
      epochs: passes over the training examples.
      teacher_epochs: passes of the teacher, over all examples with all labels.
      batch_size: of all training.
      labels_per_class: labels of the student in the regime with few of them.
      validation_per_class: training examples held out from teacher and students, to choose by.
      chunk: students in one program at most, where memory is short; 0 for all of them.
    """

    dataset: str = "digits"
    data_dir: str = ""
    regime: str = "few"
    temperatures: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    alphas: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    learning_rates: tuple[float, ...] = ()
    seeds: int = 0
    default_temperature: float = 4.0
    default_alpha: float = 0.9
    width: int = 0
    epochs: int = 0
    teacher_epochs: int = 0
    batch_size: int = 0
    labels_per_class: int = 0
    validation_per_class: int = 0
    chunk: int = 0


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
    """The configuration with the data set's own numbers for what it leaves open.

    Raises:
      ValueError: what cannot run; names the field.
    """
    if config.dataset not in OWN:
        raise ValueError(f"dataset must be one of {sorted(OWN)}, not {config.dataset!r}")
    if config.regime not in ("few", "all"):
        raise ValueError(f"regime must be 'few' or 'all', not {config.regime!r}")
    own = OWN[config.dataset]
    counts = [name for name in own if hasattr(config, name)]
    given: dict[str, Any] = {name: getattr(config, name) or own[name] for name in counts}
    given["learning_rates"] = config.learning_rates or (own["learning_rate"],)
    config = dataclasses.replace(config, **given)
    at_least(1, fields(config, *counts))
    at_least(0, fields(config, "chunk"))
    for name in ("temperatures", "alphas", "learning_rates"):
        values = getattr(config, name)
        numbers = all(isinstance(value, int | float) for value in values)
        if not numbers or not values or len(set(values)) < len(values):
            raise ValueError(
                f"{name} must be numbers separated by commas, at least one and none twice, not "
                f"{values}"
            )
        given[name] = tuple(map(float, values))
    config = dataclasses.replace(config, **given)
    if bad := [rate for rate in config.learning_rates if not 0 < rate < math.inf]:
        raise ValueError(f"learning_rates must be positive numbers, not {bad}")
    return config
