"""What a task of the benchmark is, and its results."""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd import Network, Objective, Views
from jaxkd.data import Dataset
from jaxkd.metrics import Metric
from jaxkd.views import Normalize

FEW, TAUGHT, CONTROL, ALL, ALL_TAUGHT = (
    "few labels",
    "few labels and a teacher",
    "few labels and a teacher of few labels",
    "all labels",
    "all labels and a teacher",
)
"""The arms."""

_NORMALIZED = Views((Normalize(),))


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number by which students are compared.

    Attributes:
      metric: metric that computes it.
      format: its format, a name in `jaxkd.study.FORMATS`.
      difference: format of differences of it.
      lower_is_better: whether it is an error.
    """

    metric: Metric
    format: str = "percent"
    difference: str = "points"
    lower_is_better: bool = False


def describe(measure: Measure) -> dict[str, Any]:
    """Returns how a measure is shown, as plain data."""
    return {
        "format": measure.format,
        "difference": measure.difference,
        "lower_is_better": measure.lower_is_better,
    }


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: data, networks, objectives and measures.

    Attributes:
      name: name in tables.
      description: what is predicted of what, in one sentence.
      train: training examples with all labels.
      validation: examples that settings are chosen on.
      test: examples that results are of.
      few: ids of those training examples whose labels are few.
      make_teacher: function from a seed to an untrained teacher.
      make_student: function from a seed to an untrained student.
      labels: objective of the labels alone, also of teachers.
      distilled: function from the weight of the teacher to the objective with one.
      measures: measures by name; settings are chosen by the first.
      steps: steps of each student.
      teacher_steps: steps of each teacher.
      teacher_rate: peak of their learning rate.
      rates: learning rates, the peaks of a cosine, among which is chosen.
      decays: weight decays among which is chosen without a teacher.
      alphas: weights of the teacher among which is chosen with one.
      views: how training examples are seen.
      num_views: number of different views of each.
      test_views: how others are seen.
      codec: how the teacher's outputs are stored.
      batch_size: examples of a batch.
    """

    name: str
    description: str
    train: Dataset
    validation: Dataset
    test: Dataset
    few: np.ndarray
    make_teacher: Callable[[int], Network]
    make_student: Callable[[int], Network]
    labels: Objective
    distilled: Callable[[Any], Objective]
    measures: Mapping[str, Measure]
    steps: int
    teacher_steps: int
    teacher_rate: float = 3e-3
    rates: Sequence[float] = (3e-3, 1e-2)
    decays: Sequence[float] = (1e-3, 1e-1)
    alphas: Sequence[float] = (0.5, 0.9)
    views: Views = _NORMALIZED
    num_views: int = 1
    test_views: Views = _NORMALIZED
    codec: Any = None
    batch_size: int = 64

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metric of each measure."""
        return {name: measure.metric for name, measure in self.measures.items()}


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """The students of an arm.

    Attributes:
      setting: the numbers that were chosen.
      values: values of each measure on the test examples, one a seed.
    """

    setting: dict[str, float]
    values: dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """The results of a task, as plain data.

    Attributes:
      name: name of the task.
      description: its description.
      counts: number of training, validation and test examples, and of those with few labels.
      measures: of each measure the fields that say how it is shown.
      arms: results of the arms by name.
      teacher: measures of the teacher of all labels on the test examples.
      control: measures of that of few labels, empty where there is none.
      parameters: number of parameters of the student, and of the teacher.
    """

    name: str
    description: str
    counts: dict[str, int]
    measures: dict[str, dict[str, Any]]
    arms: dict[str, ArmResult]
    teacher: dict[str, float]
    control: dict[str, float]
    parameters: Sequence[int]

    @classmethod
    def of(cls, task: Task, **results: Any) -> "TaskResult":
        """Describes a task beside its results."""
        data = {"train": task.train, "validation": task.validation, "test": task.test}
        return cls(
            name=task.name,
            description=task.description,
            counts={**{name: len(part) for name, part in data.items()}, "few": len(task.few)},
            measures={name: describe(measure) for name, measure in task.measures.items()},
            **results,
        )

    @classmethod
    def read(cls, path: pathlib.Path) -> "TaskResult":
        """Reads what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        arms = {name: ArmResult(**arm) for name, arm in values["arms"].items()}
        return cls(**{**values, "arms": arms})

    def write(self, path: pathlib.Path) -> None:
        """Writes the results as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")


def parts(count: int, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    """Divides rows at random into parts that have none in common.

    Args:
      count: number of rows.
      sizes: number of rows of each part.
      seed: seed of the choice.

    Returns:
      Name → rows, ascending.
    """
    order = np.random.default_rng(seed).permutation(count)
    ends = itertools.accumulate(sizes.values())
    return {
        name: np.sort(order[end - size : end])
        for (name, size), end in zip(sizes.items(), ends, strict=True)
    }
