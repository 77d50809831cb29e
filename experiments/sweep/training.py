"""Training of a sweep: its examples, students trained together, and their results."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxkd import metrics
from jaxkd.data import Dataset, Loader
from jaxkd.metrics import Spread
from jaxkd.study import runner
from jaxkd.study.runner import Training
from jaxkd.study.runtime import Runtime
from jaxkd.training import Population
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))
_MEASURES = ("validation", "test", "nll", "ece", "logits")


@dataclasses.dataclass(frozen=True)
class SweepData:
    """The examples of a sweep.

    Attributes:
      known: training examples of the teacher, with all labels.
      train: the same examples with the labels that students may use.
      labeled: those of them that have a label.
      validation: held-out examples to choose by.
      test: held-out examples to measure on.
    """

    known: Dataset
    train: Dataset
    labeled: Dataset
    validation: Dataset
    test: Dataset


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way of training, with a result for each seed.

    Attributes:
      learning_rate: peak of the cosine.
      temperature: T, None for labels alone.
      alpha: weight of the teacher.
      validation: accuracy on the validation examples.
      test: accuracy on the test examples.
      nll: negative log likelihood on the test examples.
      ece: expected calibration error on the test examples.
      logits: logits on the test examples, `[examples, num_classes]` each.
    """

    learning_rate: float
    temperature: float | None
    alpha: float
    validation: tuple[float, ...]
    test: tuple[float, ...]
    nll: tuple[float, ...]
    ece: tuple[float, ...]
    logits: tuple[np.ndarray, ...] = dataclasses.field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """Temperature and weight in words."""
        if self.temperature is None:
            return "labels alone"
        return f"T {self.temperature:g}, alpha {self.alpha:g}"


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """All results of a sweep, which the report shows.

    Attributes:
      config: complete configuration.
      teacher_accuracy: accuracy of the teacher on the test examples.
      labels: labels alone, one setting a learning rate.
      results: one setting for each combination.
      students: number of students that were trained together.
      labeled: number of examples with a label for the students.
      examples: number of examples of the students.
      validation: number of examples to choose by.
      steps: number of updates of each student.
      seconds: training time of the students; nan if it was interrupted and resumed.
      test: the test examples.
    """

    config: Any
    teacher_accuracy: float
    labels: list[Setting]
    results: list[Setting]
    students: int
    labeled: int
    examples: int
    validation: int
    steps: int
    seconds: float
    test: Dataset

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
        return [r for r in self.results if Spread.of(r.validation).mean >= best.mean - reach]


def group_seeds(students: Iterable[Setting]) -> list[Setting]:
    """Groups single students into one setting with all its seeds for each combination."""
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for one in students:
        groups.setdefault((one.learning_rate, one.temperature, one.alpha), []).append(one)
    return [
        Setting(*key, *(tuple(v for one in group for v in getattr(one, m)) for m in _MEASURES))
        for key, group in groups.items()
    ]


def train(
    population: Population,
    loader: Loader,
    data: SweepData,
    steps: int,
    workdir: pathlib.Path,
    numbers: Mapping[str, list[float]],
    progress: str,
    runtime: Runtime,
) -> tuple[list[Setting], float]:
    """Trains students together; returns the result of each, and the seconds that training took."""
    evaluate = population.evaluator(data.validation, views=VIEWS)
    trained = runner.train(
        Training(
            workdir=workdir,
            step=population.step,
            state=population.init(),
            loader=loader,
            steps=steps,
            evaluate=evaluate,
            logs_per_evaluation=4,
            logs_per_checkpoint=4,
            steps_per_call=100,
            tensorboard=False,
            progress=progress,
        ),
        runtime,
    )
    validation = evaluate(trained.state)["accuracy"]
    logits = population.predict(trained.state, data.test, views=VIEWS)
    labels = data.test.labels
    results = [
        Setting(
            learning_rate=numbers["learning_rate"][index],
            temperature=numbers["temperature"][index] if "temperature" in numbers else None,
            alpha=numbers["alpha"][index] if "alpha" in numbers else 0.0,
            validation=(float(validation[index]),),
            test=(metrics.accuracy(own, labels),),
            nll=(metrics.negative_log_likelihood(own, labels),),
            ece=(metrics.expected_calibration_error(own, labels),),
            logits=(own,),
        )
        for index, own in enumerate(logits)
    ]
    return results, trained.seconds


def _best(results: list[Setting]) -> Setting:
    return max(results, key=lambda r: Spread.of(r.validation).mean)
