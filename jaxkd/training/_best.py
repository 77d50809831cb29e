"""The best state of a run by a metric of its evaluations, and when no better one is awaited."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.metrics.in_step import Metric
from jaxkd.metrics.in_step._defaults import by_name
from jaxkd.metrics.in_step._direction import direction_of
from jaxkd.networks._arguments import check_integer, shown, suggestion
from jaxkd.training._csv_rows import Rows
from jaxkd.training._evaluated import Evaluated
from jaxkd.training.checkpoints import Checkpoints
from jaxkd.training.state import TrainState

# A metric by name, which says its direction itself, or with the word "min" or "max".
KeepBest = str | tuple[str, str]
# Parts of names of metrics whose lowest value is the best, of which none is taken for the highest.
_LOWER = ("loss", "entropy", "error", "perplexity", "nll", "divergence", "distance", "brier")
# Abbreviations, which count as whole words alone.
_LOWER_WORDS = {"mse", "rmse", "mae", "mape", "ece", "kl", "fid", "wer", "cer", "ppl"}


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Which of several evaluations is the best, and how long a better one is awaited.

    Attributes:
      metric: name of the metric.
      mode: `"max"` or `"min"`.
      patience: number of evaluations in a row that are no better, after which a run ends; None for
        no such end.
    """

    metric: str
    mode: str
    patience: int | None = None

    @classmethod
    def from_arguments(
        cls, keep_best: Any, patience: Any, *, evaluate: Any, repeats: bool, members: int | None
    ) -> Criterion | None:
        """Makes a criterion of the arguments of `fit`.

        Args:
          keep_best: name of a metric, or its name and `"min"` or `"max"`; None for none.
          patience: number of evaluations, None for no end.
          evaluate: function that the run evaluates by, which knows its metrics where
            `jaxkd.training.evaluator` made it; None for none.
          repeats: whether it does so more than once.
          members: number of students that train together, None for one.

        Returns:
          The criterion, None where nothing is kept.

        Raises:
          TypeError: arguments of another kind.
          ValueError: another word than "min" or "max", a name that no metric of `evaluate` has, a
            metric that does not say its direction and whose name sounds like a loss, a patience
            below 1, or one of them without what it needs.
        """
        if keep_best is None:
            if patience is not None:
                raise ValueError(
                    f"patience={patience} needs a metric: write keep_best='accuracy', or "
                    "keep_best=('cross_entropy', 'min')"
                )
            return None
        pair = (keep_best, "") if isinstance(keep_best, str) else keep_best
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TypeError(
                f"keep_best must be the name of a metric, not {shown(keep_best)}: write "
                "keep_best='accuracy', or keep_best=('cross_entropy', 'min')"
            )
        metric, given = pair
        known = _metrics_of(evaluate)
        if known and metric not in known:
            raise ValueError(
                f"keep_best names {metric!r}, which evaluate does not measure"
                f"{suggestion(metric, known)} Its metrics are {[*known]}"
            )
        mode = direction_of(known.get(metric), given, f"keep_best={keep_best!r}")
        if mode is None and _sounds_like_a_loss(metric):
            raise ValueError(
                f"keep_best={metric!r} would keep the highest value: write "
                f"keep_best=({metric!r}, 'min'), or ({metric!r}, 'max') if that is meant"
            )
        if evaluate is None:
            raise ValueError(
                f"keep_best={keep_best!r} needs evaluations: give fit(…, evaluate=f, eval_every=…)"
            )
        if members is not None:
            raise ValueError(
                f"keep_best={keep_best!r} is for one student, and {members} train here, whose "
                "best evaluations differ: compare the rows of result.eval"
            )
        if patience is not None:
            check_integer("patience", patience)
            if patience < 1:
                raise ValueError(f"patience must be at least 1 evaluation, not {patience}")
            if not repeats:
                raise ValueError(
                    f"patience={patience} needs more than one evaluation: give fit(…, eval_every=…)"
                )
        return cls(metric, mode or "max", patience)

    def best_step(self, rows: Rows, since: int = 0) -> int | None:
        """Returns the step of the first best of some evaluations.

        Args:
          rows: the rows of the evaluations.
          since: evaluations up to this step do not count.

        Returns:
          The number of steps before it, None where no evaluation has a number.
        """
        best, value = None, math.nan
        for row in self._candidates(rows, since):
            if self.is_better(row[self.metric], value):
                best, value = row["step"], row[self.metric]
        return best

    def exhausted(self, rows: Rows, since: int = 0) -> bool:
        """Whether so many evaluations were no better than the best one that the run ends."""
        best = self.best_step(rows, since) or 0
        after = [row for row in self._candidates(rows, since) if row["step"] > best]
        return self.patience is not None and len(after) >= self.patience

    def ended(self, metadata: Mapping[str, Any], states: Checkpoints | None) -> bool:
        """Whether a run that resumes has ended by its patience already.

        Args:
          metadata: of the checkpoint that it resumes from.
          states: directory of the best state, without which the run looks for another one.

        Returns:
          Whether no step follows.
        """
        table = (metadata.get("rows") or {}).get("eval") or {"columns": [], "values": []}
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["values"]]
        best = self.best_step(rows, since := _since(metadata))
        there = best is None or (states is not None and best in states.steps())
        return there and self.exhausted(rows, since)

    def _candidates(self, rows: Rows, since: int) -> Rows:
        return [row for row in rows if row["step"] > since and self.metric in row]

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another; nan is better than none, and any than nan."""
        if math.isnan(value) or math.isnan(than):
            return not math.isnan(value)
        return value < than if self.mode == "min" else value > than


class BestState:
    """The state of the best evaluation of a run, beside its newest one.

    Which evaluation is the best follows from the rows of metrics, which every checkpoint holds.
    Until the next checkpoint the best state of the one before is kept as well, so that a run that
    is killed in between goes on as if it had not been.

    Args:
      criterion: which evaluation is the best.
      evaluations: the rows of the evaluations, to which those to come are appended.
      checkpoints: directory of the best state; None to keep it in memory.
      done: number of steps made before.
      metadata: of the checkpoint that training resumes from.
    """

    def __init__(
        self,
        criterion: Criterion,
        evaluations: Rows,
        checkpoints: Checkpoints | None,
        done: int,
        metadata: Mapping[str, Any],
    ):
        self._criterion, self._evaluations = criterion, evaluations
        self._checkpoints, self._kept = checkpoints, None
        # Of evaluations up to this step no state is there.
        self._since = _since(metadata)
        if checkpoints is not None:
            if self.step is not None and self.step not in checkpoints.steps():
                warnings.warn(
                    f"the state of the best evaluation so far, of step {self.step}, is not there: "
                    f"the best one is that of the evaluations after step {done}",
                    stacklevel=4,
                )
                self._since = done
            checkpoints.keep_only(self._steps(self.step))
        self._safe = self.step

    @property
    def step(self) -> int | None:
        """Number of steps before the best evaluation, None before the first one."""
        return self._criterion.best_step(self._evaluations, self._since)

    @property
    def exhausted(self) -> bool:
        """Whether so many evaluations were no better that the run ends."""
        return self._criterion.exhausted(self._evaluations, self._since)

    @property
    def reason(self) -> str:
        """Why the run ends."""
        criterion = self._criterion
        where = "so far" if self.step is None else f"since step {self.step}"
        return f"no better {criterion.metric} in {criterion.patience} evaluations {where}"

    def check(self, metrics: Mapping[str, Any]) -> None:
        """Refuses an evaluation without the metric.

        Args:
          metrics: what `evaluate` returned.

        Raises:
          ValueError: there is no such metric; names those that there are.
        """
        if (metric := self._criterion.metric) not in metrics:
            raise ValueError(
                f"keep_best names {metric!r}, and evaluate returned {list(metrics)}: name one of "
                "them, or return that one, too"
            )

    def update(self, state: TrainState) -> None:
        """Keeps a state if its evaluation, the last one, is the best.

        Args:
          state: the state that was evaluated.
        """
        step = self.step
        if step != self._evaluations[-1]["step"]:
            return
        if self._checkpoints is None:
            # The next step reuses the state's memory.
            self._kept = jax.tree.map(jnp.copy, state)
            return
        self._checkpoints.save(state)
        self._checkpoints.keep_only(self._steps(self._safe, step))

    def after_checkpoint(self) -> None:
        """Drops what only an earlier checkpoint could need."""
        self._safe = self.step
        if self._checkpoints is not None:
            self._checkpoints.keep_only(self._steps(self._safe))

    def metadata(self) -> dict[str, Any]:
        """Returns plain data for a checkpoint."""
        return {"since": self._since}

    def state(self, last: TrainState) -> TrainState | None:
        """Returns the best state, None without an evaluation that has the metric.

        Args:
          last: the last state of the run.
        """
        if self.step is None:
            return None
        if self.step == int(last.step):
            return last
        if self._checkpoints is None:
            return self._kept
        try:
            return self._checkpoints.restore(last)[0]
        except OSError as error:
            warnings.warn(f"the best state cannot be read: {error}", stacklevel=3)
            return None

    def _steps(self, *steps: int | None) -> set[int]:
        return {step for step in steps if step is not None}


def _sounds_like_a_loss(metric: str) -> bool:
    words = re.split("[^a-z]+", metric.lower())
    return any(part in metric.lower() for part in _LOWER) or not _LOWER_WORDS.isdisjoint(words)


def _metrics_of(evaluate: Any) -> Mapping[str, Metric]:
    """Returns the metrics that a function is known to evaluate by; none of one's own function."""
    evaluated = getattr(evaluate, "evaluated", None)
    return by_name(evaluated.metrics) if isinstance(evaluated, Evaluated) else {}


def _since(metadata: Mapping[str, Any]) -> int:
    """Returns the step up to which evaluations do not count, by a checkpoint's metadata."""
    return int((metadata.get("best") or {}).get("since", 0))
