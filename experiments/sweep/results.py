"""Results of a sweep: its settings, the chosen one, and those that may be as good."""

import dataclasses
import functools
import math

import numpy as np

from experiments.sweep.config import Config
from jaxkd.metrics import Spread
from jaxkd.study import ArmResult, StudyResults
from jaxkd.study.arms import LABELS


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """One way of training, with a student for each seed.

    Attributes:
      learning_rate: peak of the cosine.
      result: what its students gave.
    """

    learning_rate: float
    result: ArmResult

    @property
    def temperature(self) -> float | None:
        """T, None for labels alone."""
        return self.result.arm.options.get("temperature")

    @property
    def alpha(self) -> float:
        """Weight of the teacher."""
        return self.result.arm.options.get("alpha", 0.0)

    @property
    def name(self) -> str:
        """Temperature and weight in words."""
        if self.temperature is None:
            return "labels alone"
        return f"T {self.temperature:g}, alpha {self.alpha:g}"

    @property
    def validation(self) -> np.ndarray:
        """Accuracy on the validation examples `[seeds]`."""
        return self.result.validation["accuracy"]

    @property
    def test(self) -> np.ndarray:
        """Accuracy on the test examples `[seeds]`."""
        assert self.result.test is not None
        return self.result.test["accuracy"]


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """All results of a sweep, which the report shows.

    Attributes:
      config: complete configuration.
      studies: the results of every setting and of labels alone, by learning rate.
      sizes: number of examples of each part of the data.
    """

    config: Config
    studies: dict[float, StudyResults]
    sizes: dict[str, int]

    @property
    def study(self) -> StudyResults:
        """The first study, for what all have in common."""
        return next(iter(self.studies.values()))

    @property
    def labels(self) -> list[Setting]:
        """Labels alone, one setting a learning rate."""
        return [Setting(rate, study[LABELS]) for rate, study in self.studies.items()]

    @functools.cached_property
    def results(self) -> list[Setting]:
        """One setting for each combination of learning rate, temperature and weight."""
        return [
            Setting(rate, result)
            for rate, study in self.studies.items()
            for name, result in study.arms.items()
            if name != LABELS
        ]

    @property
    def seconds(self) -> float:
        """Training time of the settings; nan if it was interrupted and resumed."""
        return float(sum(setting.result.seconds.sum() for setting in self.results))

    @property
    def chosen(self) -> Setting:
        """The best setting on the validation examples."""
        return _best(self.results)

    @property
    def chosen_labels(self) -> Setting:
        """Labels alone at the learning rate that is best for them."""
        return _best(self.labels)

    @property
    def default(self) -> Setting:
        """The default setting, at the learning rate that is best for it."""
        own = (self.config.default_temperature, self.config.default_alpha)
        return _best([r for r in self.results if (r.temperature, r.alpha) == own])

    @property
    def as_good(self) -> list[Setting]:
        """The chosen setting, and those at most its standard deviation below it."""
        best = Spread.of(self.chosen.validation)
        reach = 0.0 if math.isnan(best.std) else best.std
        return [r for r in self.results if r.validation.mean() >= best.mean - reach]


def _best(settings: list[Setting]) -> Setting:
    return max(settings, key=lambda setting: setting.validation.mean())
