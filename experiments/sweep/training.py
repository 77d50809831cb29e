"""What a sweep is made of: its examples, students trained together, and their results."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jaxkd
from experiments.common import runner
from experiments.common.runner import Training
from experiments.common.runtime import Runtime
from jaxkd.data import Dataset, Loader
from jaxkd.metrics import Spread
from jaxkd.training import Population
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))


@dataclasses.dataclass(frozen=True)
class Parts:
    """The examples of a sweep.

    Attributes:
      known: what the teacher learns from, with all labels.
      train: the same examples with the labels that students may use.
      labeled: those of them that have a label.
      validation: held out to choose by.
      test: held out to judge by.
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
    """

    learning_rate: float
    temperature: float | None
    alpha: float
    validation: tuple[float, ...]
    test: tuple[float, ...]
    nll: tuple[float, ...]
    ece: tuple[float, ...]

    @property
    def name(self) -> str:
        """Temperature and weight, for people."""
        if self.temperature is None:
            return "labels alone"
        return f"T {self.temperature:g}, alpha {self.alpha:g}"


@dataclasses.dataclass(frozen=True)
class Swept:
    """Everything that the report is made of.

    Attributes:
      config: of the sweep, complete.
      teacher_accuracy: on the test examples.
      labels: labels alone, a setting a learning rate.
      results: one setting for each combination.
      students: how many were trained together.
      labeled: examples with a label for the students.
      examples: for the students in all.
      validation: examples to choose by.
      steps: of each student.
      seconds: that the students took, nan if their training was cut and taken up.
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

    @property
    def chosen(self) -> Setting:
        """The best on the validation examples."""
        return _best(self.results)

    @property
    def chosen_labels(self) -> Setting:
        """Labels alone at the learning rate that is best for them."""
        return _best(self.labels)

    @property
    def default(self) -> Setting:
        """The setting that nobody chose, at the learning rate that is best for it."""
        own = (self.config.default_temperature, self.config.default_alpha)
        return _best([r for r in self.results if (r.temperature, r.alpha) == own])

    @property
    def as_good(self) -> list[Setting]:
        """The settings no further below the chosen one than its standard deviation, itself too."""
        best = Spread.of(self.chosen.validation)
        reach = 0.0 if math.isnan(best.std) else best.std
        return [r for r in self.results if Spread.of(r.validation).mean >= best.mean - reach]


def gather(students: Iterable[Setting]) -> list[Setting]:
    """One setting with all its seeds for each combination, from single students."""
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for one in students:
        groups.setdefault((one.learning_rate, one.temperature, one.alpha), []).append(one)
    return [
        Setting(
            *key,
            *(
                tuple(value for one in group for value in getattr(one, name))
                for name in ("validation", "test", "nll", "ece")
            ),
        )
        for key, group in groups.items()
    ]


def train(
    population: Population,
    loader: Loader,
    parts: Parts,
    steps: int,
    workdir: pathlib.Path,
    numbers: Mapping[str, list[float]],
    progress: str,
    runtime: Runtime,
) -> tuple[list[Setting], float]:
    """Each student's result, and the seconds that training took; nan if it was taken up."""
    trained = runner.train(
        Training(
            workdir=workdir,
            step=population.step,
            state=population.init(),
            loader=loader,
            steps=steps,
            evaluate=population.evaluator(parts.validation, views=VIEWS),
            logs_per_evaluation=4,
            logs_per_checkpoint=4,
            steps_per_call=100,
            tensorboard=False,
            progress=progress,
        ),
        runtime,
    )
    validation = population.evaluator(parts.validation, views=VIEWS)(trained.state)
    logits = population.predict(trained.state, parts.test, views=VIEWS)
    labels = parts.test.labels
    results = [
        Setting(
            learning_rate=numbers["learning_rate"][index],
            temperature=numbers["temperature"][index] if "temperature" in numbers else None,
            alpha=numbers["alpha"][index] if "alpha" in numbers else 0.0,
            validation=(float(validation["accuracy"][index]),),
            test=(jaxkd.metrics.accuracy(logits[index], labels),),
            nll=(jaxkd.metrics.negative_log_likelihood(logits[index], labels),),
            ece=(jaxkd.metrics.expected_calibration_error(logits[index], labels),),
        )
        for index in range(len(numbers["seed"]))
    ]
    return results, trained.seconds


def _best(results: list[Setting]) -> Setting:
    return max(results, key=lambda r: Spread.of(r.validation).mean)
