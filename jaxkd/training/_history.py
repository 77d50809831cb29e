"""Metrics of a run: one row for each log interval and one for each evaluation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.networks._arguments import shown
from jaxkd.training._csv_rows import INTEGERS, Rows
from jaxkd.training._loggers import Loggers
from jaxkd.training._metric_sums import MetricSums
from jaxkd.training.logs import CSV, Split
from jaxkd.training.step import TrainStep


class MetricsHistory:
    """Rows of metrics of a run, in memory, in its CSV files and in its loggers.

    The metrics of a log interval are added up on the device. They come to the host one call of the
    step after the interval is over, so that the host never waits for a device without work.

    Args:
      files: files that the rows are written to as well; None for memory alone.
      loggers: what else gets the rows.
      members: number of students that train together, None for one.
      metadata: of the checkpoint that training resumes from, as `metadata` returned it; one of an
        earlier version has no rows, which are then those that the files hold.

    Attributes:
      train: the rows of the log intervals.
      evaluations: the rows of the evaluations.
      sums: the metrics of the present interval, None before its first step.
      loggers: what else gets the rows.
    """

    def __init__(
        self,
        files: CSV | None,
        loggers: Loggers,
        members: int | None,
        metadata: Mapping[str, Any] | None = None,
    ):
        for name, table in ((metadata or {}).get("rows") or {}).items():
            if files:
                columns = table["columns"]
                rows = [dict(zip(columns, row, strict=True)) for row in table["values"]]
                # The row of an evaluation that the checkpoint owes may be there already.
                owed = name == "eval" and (metadata or {}).get("owes_evaluation")
                (files.replace if owed else files.restore)(name, rows)
        self.train: Rows = files.rows("train") if files else []
        self.evaluations: Rows = files.rows("eval") if files else []
        self.sums: MetricSums | None = None
        self.loggers = loggers
        self._files, self._members = files, members
        # Columns of the evaluations before a resume, and whether one has been added since.
        self._columns = [n for n in (self.evaluations or [{}])[0] if n not in INTEGERS]
        self._compared = not self.evaluations
        # Those that `evaluate` returned since.
        self._names: set[str] = set()
        # An interval that is over and not written yet: its last step and its sums.
        self._pending: tuple[int, MetricSums | None] | None = None

    def restore(self, metadata: Mapping[str, Any], step: TrainStep) -> None:
        """Restores the interval that a checkpoint was saved in the middle of.

        Args:
          metadata: of the checkpoint, as `metadata` returned it.
          step: places the sums where its program expects them.
        """
        if sums := metadata.get("sums"):
            values = jnp.asarray(list(sums.values()), jnp.float32)
            self.sums = step.put_sums(MetricSums(values, tuple(sums)))

    def metadata(self) -> dict[str, Any]:
        """Returns the rows, and the present interval, as plain data for a checkpoint."""
        tables = {"train": self.train, "eval": self.evaluations}
        metadata: dict[str, Any] = {"rows": {n: _table(rows) for n, rows in tables.items()}}
        if self.sums is None:
            return {**metadata, "sums": None}
        sums = np.asarray(jax.device_get(self.sums.values)).tolist()
        return {**metadata, "sums": dict(zip(self.sums.names, sums, strict=True))}

    def end_interval(self, step: int) -> None:
        """Ends the interval at a step; the next `flush` writes its row.

        By then the device computes later steps, and waits for nothing.
        """
        self._pending, self.sums = (step, self.sums), None

    @property
    def last_loss(self) -> str:
        """The loss of the last row of one student, as text; empty before it."""
        one = self.train and self._members is None
        return f"loss {self.train[-1]['loss']:.4g}" if one else ""

    @property
    def pending(self) -> bool:
        """Whether the row of an interval that is over has yet to be written."""
        return self._pending is not None

    def flush(self) -> dict[str, Any] | None:
        """Writes the row of the interval that is over, if it is not written yet.

        Returns:
          Its metrics, numbers or `[N]` of N students; None where there is no such interval.

        Raises:
          FloatingPointError: the loss is not finite, of all students that train together.
        """
        if self._pending is None:
            return None
        (step, sums), self._pending = self._pending, None
        on_host = jax.tree.map(lambda leaf: np.asarray(leaf, float), jax.device_get(sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            metrics = on_host.means()
        # Other metrics may be nan, such as the accuracy of an interval without labels.
        if not np.isfinite(metrics["loss"]).any():
            raise FloatingPointError(
                f"the loss is not finite in the steps before step {step}: {metrics}"
            )
        return self._write("train", self.train, step, metrics)

    def add_evaluation(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the row of an evaluation after a step.

        At the first one after a resume metrics may come or go: what a row lacks is nan.

        Args:
          step: number of steps made.
          metrics: metric → number, or `[N]` of N students.

        Returns:
          The metrics of the row, likewise.

        Raises:
          TypeError, ValueError: as `check_evaluation`.
        """
        self.check_evaluation(metrics)
        if not self._compared:
            self._compare_columns(step, metrics)
        self._columns, self._names = self._columns or list(metrics), {*metrics}
        metrics = {**dict.fromkeys(self._columns, math.nan), **metrics}
        return self._write("eval", self.evaluations, step, metrics)

    def check_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Refuses an evaluation that makes no row.

        Args:
          metrics: what `evaluate` returned.

        Raises:
          TypeError: something else than numbers by name.
          ValueError: a number of a name that a row has already, or other names than before.
        """
        _check_evaluation(metrics, self._members)
        if self._names and {*metrics} != self._names:
            raise ValueError(
                f"evaluate returned {sorted(metrics)}, and {sorted(self._names)} before: return "
                "the same metrics each time, nan where there is none"
            )

    def _compare_columns(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._compared = True
        new = [name for name in metrics if name not in self._columns]
        gone = [name for name in self._columns if name not in metrics]
        if new:
            self._columns += new
            empty = dict.fromkeys(new, math.nan)
            self.evaluations[:] = [{**row, **empty} for row in self.evaluations]
            if self._files:
                self._files.replace("eval", self.evaluations)
        if new or gone:
            warnings.warn(
                f"evaluate returns other metrics than before the resume: {new} are nan in the rows "
                f"before step {step}, {gone} from then on",
                stacklevel=4,
            )

    def _write(
        self, split: Split, rows: Rows, step: int, metrics: Mapping[str, Any]
    ) -> dict[str, Any]:
        numbers = self._numbers(metrics)
        for row in self._rows_of(numbers):
            if self._files:
                self._files.write(step, row, split)
            rows.append({"step": step, **row})
            self.loggers.write(step, row, split)
        return numbers

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Returns numbers of one student, or float64 `[N]` of several."""
        if self._members is None:
            return {key: float(value) for key, value in metrics.items()}
        shape = (self._members,)
        return {k: np.broadcast_to(np.asarray(v, float), shape) for k, v in metrics.items()}

    def _rows_of(self, numbers: Mapping[str, Any]) -> Rows:
        """Returns the row of one student, or a row for each member."""
        if self._members is None:
            return [dict(numbers)]
        return [
            {"member": member, **{key: float(array[member]) for key, array in numbers.items()}}
            for member in range(self._members)
        ]


def _check_evaluation(metrics: Any, members: int | None) -> None:
    """Refuses what is no mapping of names to numbers, one a member where there are several."""
    line = 'write return {"accuracy": 0.9}'
    if not isinstance(metrics, Mapping):
        raise TypeError(f"evaluate returns numbers by name, not {shown(metrics)}: {line}")
    if taken := [name for name in INTEGERS if name in metrics]:
        raise ValueError(f"evaluate returned {taken}, which every row has already: rename it")
    if others := [name for name in metrics if not isinstance(name, str)]:
        raise TypeError(f"evaluate names a number by {shown(others[0])}, no text: {line}")
    for name, value in metrics.items():
        try:
            fits = np.asarray(value, float).shape in ((), (members,))
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise TypeError(f"evaluate returned {shown(value)} as {name!r}, no number: {line}")


def _table(rows: Rows) -> dict[str, Any]:
    columns = list(rows[0]) if rows else []
    return {"columns": columns, "values": [[row[name] for name in columns] for row in rows]}
