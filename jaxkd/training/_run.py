"""A run between its first step and its last: one call of the step, and what follows it."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from jaxkd.training._history import MetricsHistory
from jaxkd.training._intervals import Intervals
from jaxkd.training._run_fields import Fields, as_document
from jaxkd.training._validation import check_finite
from jaxkd.training.checkpoints import Checkpoints
from jaxkd.training.distributed import is_main_process, sync_processes
from jaxkd.training.logs import Logs
from jaxkd.training.ownership import WorkdirOwner
from jaxkd.training.preemption import Preempted, StopSignal
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep

# From the state to numbers by name; of a population, to arrays of one number a member.
Evaluate = Callable[[TrainState], Mapping[str, Any]]


class Batches(Protocol):
    """Batches by step number, such as a `jaxkd.data.Loader`."""

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns the batch of a step."""


class Run:
    """A run of `fit`, with everything that it was checked and prepared with.

    Attributes:
      state: the present train state.
      done: number of steps made.
    """

    def __init__(
        self,
        step: TrainStep,
        state: TrainState,
        intervals: Intervals,
        history: MetricsHistory,
        evaluate: Evaluate | None,
        workdir: pathlib.Path | None,
        checkpoints: Checkpoints | None,
        logs: Logs | None,
        stop: StopSignal | None,
        owner: WorkdirOwner | None,
        fields: Fields,
    ):
        self.state, self.done = state, int(state.step)
        self._step, self._intervals, self._history = step, intervals, history
        self._evaluate, self._workdir, self._stop = evaluate, workdir, stop
        self._checkpoints, self._logs, self._owner = checkpoints, logs, owner
        self._fields = fields

    def call(self, batches: Batches) -> int:
        """Makes the next steps in one call of the compiled program, and returns their number."""
        size, count = self._intervals.steps_per_call, self._intervals.next_call(self.done)
        stacked = self._step.put(_stack(batches, self.done, count, size), leading=1)
        # On a mesh every argument is a global array, this number too.
        number = self._step.put(np.int32(count))
        history = self._history
        self.state, history.sums = self._step.many(self.state, stacked, number, history.sums)
        self.done += count
        return count

    def after_call(self, show_progress: Callable[[int], None]) -> None:
        """Logs, evaluates and saves where it is due, and stops after SIGTERM.

        Args:
          show_progress: shows the number of steps made.

        Raises:
          FloatingPointError: loss or parameters are not finite; the state is in `nonfinite`.
          Preempted: SIGTERM arrived, and the state was saved.
        """
        stopped = self._stop is not None and self._stop.reached()
        try:
            self._write_metrics(stopped, show_progress)
            if self._checkpoints is not None and (
                stopped or self._intervals.saves_after(self.done)
            ):
                self._save(self._checkpoints)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}. {self._save_nonfinite()}") from None
        finished = self.done == self._intervals.steps
        if stopped or (self._stop is not None and self._stop.received and finished):
            raise Preempted(self.done, self._workdir)

    def _write_metrics(self, stopped: bool, show_progress: Callable[[int], None]) -> None:
        done, intervals, history = self.done, self._intervals, self._history
        evaluates = self._evaluate is not None and intervals.evaluates_after(done)
        saves = self._checkpoints is not None and intervals.saves_after(done)
        if history.pending or evaluates or saves or stopped:
            self._check_owner()
        # The row of an interval that ended before this call, whose steps the device now computes.
        history.flush()
        if intervals.logs_after(done):
            history.end_interval(done)
            show_progress(done)
        if evaluates or saves or stopped or done == intervals.steps:
            history.flush()
        if evaluates and self._evaluate is not None:
            metrics = self._evaluate(self.state)
            self._check_owner()
            history.add_evaluation(done, metrics)

    def _save(self, checkpoints: Checkpoints) -> None:
        check_finite(self._step, self.state)
        self._check_owner()
        if self._logs is not None:
            self._logs.flush()
        metadata = {**self._history.metadata(), "run": as_document(self._fields)}
        checkpoints.save(self.state, metadata)

    def _check_owner(self) -> None:
        """Stops before anything is written where another process has taken the work directory."""
        if self._owner is not None:
            self._owner.check()

    def _save_nonfinite(self) -> str:
        """Saves a state with numbers that are not finite; returns advice for the message."""
        advice = (
            "Lower the learning rate, look at the inputs, or at schedules that leave the "
            "temperatures which sparse targets declare; optax.apply_if_finite around the optimizer "
            "leaves out single updates that are not finite"
        )
        if self._workdir is None:
            return advice
        directory = self._workdir / "nonfinite"
        if is_main_process():
            shutil.rmtree(directory, ignore_errors=True)  # of an earlier attempt
        sync_processes("nonfinite")
        with Checkpoints(directory, max_to_keep=1) as checkpoints:
            checkpoints.save(self.state)
        return (
            f"The newest checkpoint is left as it was; the state at hand is saved in {directory} "
            f"to be looked at. {advice}"
        )


def _stack(batches: Batches, start: int, count: int, size: int) -> Any:
    """Stacks batches along a new first axis, filled up to `size` with the last one."""
    if size == 1:
        return jax.tree.map(lambda leaf: leaf[None], batches[start])
    rows = [batches[start + index] for index in range(count)]
    rows += [rows[-1]] * (size - count)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
