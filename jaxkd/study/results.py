"""Results of a study: what every arm gave, what was chosen, and what that may mean."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd._files import read_json
from jaxkd.metrics.spread import Spread
from jaxkd.networks import Network
from jaxkd.study._costs import COLUMNS, differing
from jaxkd.study._files import write_file
from jaxkd.study._provenance import run_facts
from jaxkd.study._shown_inputs import SHOWN_INPUTS, Shown, save_inputs
from jaxkd.study._wording import counted, spread_over
from jaxkd.study.arms import LABELS, Arm
from jaxkd.study.comparison import Finding, compare
from jaxkd.study.measures import Measure
from jaxkd.study.tables import Column, Table

if TYPE_CHECKING:
    from jaxkd.study.report import Report


RESULTS = "results.json"
"""Name of the file of all numbers."""

TEST_EVALUATIONS = "test_evaluations.json"
"""Name of the file that counts the evaluations of the test examples."""


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """What the runs of an arm gave.

    Attributes:
      arm: the arm.
      steps: number of updates of each student.
      validation: metric → value at the last step `[seeds]`, on the data that arms are compared on.
      test: the same on the test examples; None before they are evaluated.
      curve_steps: steps of the evaluations during training `[points]`.
      curve: the compared metric at them `[seeds, points]`.
      seconds: duration of each training `[seeds]`; nan where it was interrupted and resumed.
      logits: part → logits `[seeds, examples, ...]`; without networks that have none.
      costs: `"parameters"` and those that are not zero (`"nonzero"`), `"bytes"` of them in their
        own types, as a file of weights has them, `"flops"` of the forward pass of one example → of
        each student `[seeds]`; empty where an earlier version trained them.
      has_own_teacher: whether a teacher of its own took the place of the study's.
      arrays: part → name → what else an evaluator of one's own keeps of its students
        `[seeds, ...]`.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> done = jaxkd.distill(
      ...     jaxkd.from_function(linear, jnp.zeros((4, 4))),
      ...     jaxkd.from_function(linear, 5.0 * jnp.eye(4)), data, steps=20, progress=False)
      >>> kd = done.results["kd"]
      >>> kd.steps, kd.test["accuracy"].shape, int(kd.costs["parameters"][0])
      (20, (1,), 16)
    """

    arm: Arm
    steps: int
    validation: dict[str, np.ndarray]
    test: dict[str, np.ndarray] | None
    curve_steps: np.ndarray
    curve: np.ndarray
    seconds: np.ndarray
    logits: dict[str, np.ndarray]
    costs: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    has_own_teacher: bool = False
    arrays: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StudyResults:
    """The results of a study; `results["kd"]` are those of an arm.

    Attributes:
      arms: name → what its runs gave, in the study's order.
      seeds: the seeds.
      measure: what arms are compared by.
      part: what they are compared on, `"validation"`, or `"test"` where there is no such data.
      chosen: name of the arm that is best on validation; None where there is no validation data.
      teacher: part → metric → value of the teacher, as far as it was evaluated.
      test_evaluations: how often the test examples were evaluated for other arms or seeds than
        before; 0 for never.
      workdir: folder of the study.
      make_network: function from name and seed to a trained student.
      percents: names of the metrics that are shown in percent.
      configuration: name → value of what was chosen, for the report.
      labels: part → labels of its examples, in the order of the logits, where they are one array.
      class_names: one name a class, or empty.
      teacher_logits: part → logits of the teacher, where it has any.
      shown_inputs: row among the examples of the table → picture or text of those on which teacher
        and student differ that the report shows.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> done = jaxkd.distill(
      ...     jaxkd.from_function(linear, jnp.zeros((4, 4))),
      ...     jaxkd.from_function(linear, 5.0 * jnp.eye(4)), data, steps=20, progress=False)
      >>> results = done.results
      >>> list(results.arms), results.measure.name, results.values("kd").shape
      (['kd'], 'accuracy', (1,))
    """

    arms: Mapping[str, ArmResult]
    seeds: tuple[int, ...]
    measure: Measure
    part: str
    chosen: str | None
    teacher: Mapping[str, Mapping[str, float]]
    test_evaluations: int
    workdir: pathlib.Path
    make_network: Callable[[str, int], Network]
    percents: frozenset[str] = frozenset()
    configuration: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    teacher_logits: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    shown_inputs: Mapping[int, Shown] = dataclasses.field(default_factory=dict)

    def __getitem__(self, name: str) -> ArmResult:
        self._check_name(name)
        return self.arms[name]

    def __repr__(self) -> str:
        chosen = f"; chosen: {self.chosen}" if self.chosen else ""
        lines = [f"StudyResults({len(self.arms)} arms, {counted(len(self.seeds), 'seed')}{chosen})"]
        lines += [self.table().to_markdown()]
        return "\n".join(lines)

    @property
    def baseline(self) -> str:
        """The arm that others are compared with: labels, or the first one."""
        return LABELS if LABELS in self.arms else next(iter(self.arms))

    @property
    def shown_part(self) -> str:
        """What the table shows: the test examples once they are evaluated."""
        return "test" if self.test_evaluations else self.part

    def values(self, name: str, part: str | None = None) -> np.ndarray:
        """Returns the compared metric of an arm, `[seeds]`.

        Args:
          name: name of the arm.
          part: `"validation"` or `"test"`; by default what the table shows.

        Raises:
          ValueError: no arm of that name, or the test examples are not evaluated yet.
        """
        scores = self._scores(name, self.shown_part if part is None else part)
        return scores[self.measure.name]

    def network(self, name: str | None = None, seed: int | None = None) -> Network:
        """Returns a trained student.

        Args:
          name: name of the arm; by default the chosen one, or the best where nothing is chosen.
          seed: the seed; by default the first one.

        Raises:
          ValueError: no arm of that name; says which there are.
        """
        name = name or self.chosen or self.best(self.part)
        self._check_name(name)
        return self.make_network(name, self.seeds[0] if seed is None else seed)

    def best(self, part: str) -> str:
        """Returns the arm of the best mean; of equal ones the first, one of nan only if all are."""
        sign = 1.0 if self.measure.higher_is_better else -1.0
        means = {name: sign * float(self.values(name, part).mean()) for name in self.arms}
        # A comparison with nan is False either way.
        return max(means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name])

    def compare(self, name: str, baseline: str | None = None, part: str | None = None) -> Finding:
        """States whether an arm is better than another one, as far as paired seeds can show.

        Args:
          name: name of the arm.
          baseline: name of the other; by default that of the study.
          part: what they are compared on; by default what the table shows.

        Returns:
          The finding, with its interval.

        Raises:
          ValueError: no arm of that name; says which there are.
        """
        baseline = baseline or self.baseline
        return compare(
            f"{name} against {baseline}",
            self.values(name, part),
            self.values(baseline, part),
            format=self.measure.difference,
            higher_is_better=self.measure.higher_is_better,
        )

    def table(self, chosen: str | None = None) -> Table:
        """Returns one row an arm: the compared metric, its gain, other metrics, costs and seconds.

        Costs are shown where arms differ in them.

        Args:
          chosen: name of the arm that is marked as chosen, where that was done elsewhere; by
            default that of these results.
        """
        chosen = self.chosen if chosen is None else chosen
        part, measure = self.shown_part, self.measure
        others = [n for n in next(iter(self.arms.values())).validation if n != measure.name]
        several = len(self.arms) > 1
        columns: list[Column | str] = ["Arm", Column(f"{measure.title}, {part}", measure.format)]
        columns += [Column(f"Against {self.baseline}", measure.difference)] if several else []
        if part == "test" and self.part == "validation":
            columns += [Column(f"{measure.title}, validation", measure.format)]
        columns += [self._column(name) for name in others]
        costs = differing({name: result.costs for name, result in self.arms.items()})
        columns += [COLUMNS[name] for name in costs]
        columns += [Column("Steps", "count"), Column("Training", "seconds")]
        first = self.values(self.baseline, part)
        rows: list[list[Any]] = []
        for name, result in self.arms.items():
            values = self.values(name, part)
            row: list[Any] = [f"{name} (chosen)" if name == chosen else name]
            gain = "" if name == self.baseline else Spread.of(values - first)
            row += [Spread.of(values), *([gain] if several else [])]
            if part == "test" and self.part == "validation":
                row += [Spread.of(self.values(name, "validation"))]
            scores = self._scores(name, part)
            row += [Spread.of(scores[other]) for other in others]
            row += [_mean(result.costs[cost]) if result.costs else "" for cost in costs]
            rows.append([*row, result.steps, _mean(result.seconds)])
        caption = f"{spread_over(len(self.seeds))}, last step."
        if part in self.teacher:
            value = Column("", measure.format).show(self.teacher[part][measure.name])
            unit = " %" if measure.is_fraction else ""
            caption += f" The teacher has {value}{unit}."
        return Table("Arms", columns, rows, caption)

    def document(self) -> dict[str, Any]:
        """Returns everything as plain data; `results.json` of the work directory has it."""
        return {
            "metric": dataclasses.asdict(self.measure),
            "compared_on": self.part,
            "chosen": self.chosen,
            "test_evaluations": self.test_evaluations,
            "seeds": list(self.seeds),
            "percents": sorted(self.percents),
            "configuration": dict(self.configuration),
            "teacher": {
                part: {metric: _finite([value])[0] for metric, value in scores.items()}
                for part, scores in self.teacher.items()
            },
            "arms": {name: self._document_of(name) for name in self.arms},
        }

    def save(self) -> None:
        """Writes `results.json` and `arms.csv` into the work directory."""
        text = json.dumps(self.document(), indent=2, allow_nan=False)
        write_file(self.workdir / RESULTS, text + "\n")
        self._save_labels_and_facts()
        save_inputs(self.workdir / SHOWN_INPUTS, self.shown_inputs)
        self.table().write_csv(self.workdir / "arms.csv")

    def _save_labels_and_facts(self) -> None:
        """Writes what a report needs besides: labels, and how the study was first made."""
        made = {**self.configuration, "class_names": list(self.class_names)}
        file = self.workdir / "made.json"
        if not file.exists() or read_json(file)["configuration"] != made:
            text = json.dumps({"configuration": made, "facts": run_facts()}, indent=2)
            write_file(file, text + "\n")
        for part, labels in self.labels.items():
            content = io.BytesIO()
            np.save(content, labels)
            write_file(self.workdir / f"labels_{part}.npy", content.getvalue())

    def report(self, title: str = "Study") -> Report:
        """Returns the report: what was chosen and whether it helps, a table, learning curves.

        Args:
          title: title of the page.
        """
        from jaxkd.study._study_report import make_report

        return make_report(self, title)

    def _check_name(self, name: str) -> None:
        if name not in self.arms:
            raise ValueError(f"there is no arm {name!r}; the arms are {', '.join(self.arms)}")

    def _column(self, name: str) -> Column:
        """The column of a metric that arms are not compared by."""
        title = name.replace("_", " ")
        # A name that is written with capitals keeps them.
        title = title[:1].upper() + title[1:]
        if name in self.percents:
            return Column(title, "percent")
        return Column(title, "nats" if name == "cross_entropy" else "decimal")

    def _scores(self, name: str, part: str) -> dict[str, np.ndarray]:
        result = self[name]
        if part == self.part:
            return result.validation
        if part != "test" or result.test is None:
            raise ValueError(
                f"the arm {name!r} is not evaluated on {part!r}: write study.run(test=True)"
            )
        return result.test

    def _document_of(self, name: str) -> dict[str, Any]:
        result = self.arms[name]
        scores = {self.part: result.validation}
        scores |= {"test": result.test} if result.test is not None else {}
        compared = {}
        # A student that diverged has no number, and no difference from one.
        known = np.isfinite(self.values(name)) & np.isfinite(self.values(self.baseline))
        if name != self.baseline and known.all():
            finding = self.compare(name)
            assert finding.difference is not None
            compared = {
                "kind": finding.kind,
                "text": finding.text,
                "mean": finding.difference.mean,
                "interval": finding.interval,
            }
        return {
            **result.arm.document(),
            "steps": result.steps,
            "seconds": _finite(result.seconds),
            "scores": {
                part: {metric: _finite(values) for metric, values in of_part.items()}
                for part, of_part in scores.items()
            },
            "curve": {
                "steps": result.curve_steps.tolist(),
                "values": [_finite(curve) for curve in result.curve],
            },
            "costs": {cost: _finite(values) for cost, values in result.costs.items()},
            "has_own_teacher": result.has_own_teacher,
            "against_baseline": compared,
        }


def _finite(values: Iterable[float]) -> list[float | None]:
    """Returns numbers for JSON, which has none for nan and infinities."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
