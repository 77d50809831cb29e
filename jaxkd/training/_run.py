"""A run between its first step and its last: one call of the step, and what follows it."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd._progress import ProgressLine
from jaxkd.training._best import BestState
from jaxkd.training._callbacks import Callback, FitEvent, asks_to_stop
from jaxkd.training._history import MetricsHistory
from jaxkd.training._intervals import Intervals
from jaxkd.training._run_fields import Fields, as_document
from jaxkd.training._streams import StepBatches, Stream, stack
from jaxkd.training._validation import check_finite
from jaxkd.training.checkpoints import Checkpoints
from jaxkd.training.distributed import is_main_process, sync_processes
from jaxkd.training.logs import Split
from jaxkd.training.ownership import WorkdirOwner
from jaxkd.training.preemption import Interrupted, StopSignal
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep

# From the state to numbers by name; of a population, to arrays of one number a member.
Evaluate = Callable[[TrainState], Mapping[str, Any]]


@dataclasses.dataclass
class Run:
    """A run of `fit`, with everything that it was checked and prepared with.

    Attributes:
      step: the compiled step.
      state: the present train state.
      batches: batches by step number.
      intervals: when the run logs, evaluates and saves.
      history: its metrics.
      callbacks: functions that are called after each log interval and each evaluation.
      fields: what it is made of, saved with each checkpoint.
      evaluate: function from the state to numbers, None for no evaluation.
      workdir: its directory; None, as all that follows, where nothing is saved.
      checkpoints: of the directory.
      owner: this process as the directory's owner.
      best: keeps the state of the best evaluation; None to keep none.
      stop: the signal that ends the run early.
      ended: whether a callback has ended it.
      owes_evaluation: whether the state is saved, or is to be, before the evaluation of its step.
      done: number of steps made.
    """

    step: TrainStep
    state: TrainState
    batches: StepBatches | Stream
    intervals: Intervals
    history: MetricsHistory
    callbacks: Sequence[Callback]
    fields: Fields
    evaluate: Evaluate | None = None
    workdir: pathlib.Path | None = None
    checkpoints: Checkpoints | None = None
    owner: WorkdirOwner | None = None
    best: BestState | None = None
    stop: StopSignal | None = None
    ended: bool = False
    owes_evaluation: bool = False

    def __post_init__(self):
        self.done = int(self.state.step)

    @property
    def over(self) -> bool:
        """Whether no step follows."""
        return bool(self.why_ended) or self.done == self.intervals.steps

    @property
    def why_ended(self) -> str:
        """Why the run ends before its last step; empty where it does not."""
        if self.ended:
            return "a callback ended it"
        return self.best.reason if self.best is not None and self.best.exhausted else ""

    def call(self) -> int:
        """Makes the next steps in one call of the compiled program, and returns their number."""
        size, count = self.intervals.steps_per_call, self.intervals.next_call(self.done)
        with self._saved_on_error():
            rows = stack(self.batches, self.done, count, size)
        stacked = self.step.put(rows, leading=1)
        # On a mesh every argument is a global array, this number too.
        number = self.step.put(np.int32(count))
        history = self.history
        self.state, history.sums = self.step.many(self.state, stacked, number, history.sums)
        self.done += count
        return count

    def after_call(self, line: ProgressLine) -> None:
        """Logs, evaluates and saves where it is due, and stops after SIGTERM or Ctrl-C.

        Args:
          line: shows the number of steps made.

        Raises:
          FloatingPointError: loss or parameters are not finite; the state is in `nonfinite`.
          Preempted: SIGTERM arrived, and the state was saved.
          Interrupted: Ctrl-C was pressed, and the state was saved.
        """
        stopped = self.stop is not None and self.stop.reached()
        try:
            self._write_metrics(stopped, line)
            saves = stopped or self.over or self.intervals.saves_after(self.done)
            if self.checkpoints is not None and saves:
                self._save(self.checkpoints)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}. {self._save_nonfinite()}") from None
        self._raise_of_logger()
        if self.stop is not None and (stopped or (self.stop.received and self.over)):
            raise self.stop.error(self.state, self.workdir)

    def evaluate_owed(self) -> None:
        """Makes the evaluation that an earlier call raised an error in."""
        if self.owes_evaluation:
            self._check_owner()
            self._evaluate()
            self._raise_of_logger()

    def _raise_of_logger(self) -> None:
        if (error := self.history.loggers.error) is not None:
            with self._saved_on_error():
                raise error

    def _write_metrics(self, stopped: bool, line: ProgressLine) -> None:
        done, intervals, history = self.done, self.intervals, self.history
        evaluates = self.evaluate is not None and intervals.evaluates_after(done)
        saves = self.checkpoints is not None and intervals.saves_after(done)
        if history.pending or evaluates or saves or stopped:
            self._check_owner()
        # The row of an interval that ended before this call, whose steps the device now computes.
        history.flush()
        if intervals.logs_after(done):
            history.end_interval(done)
        # A callback sees the state of the step that the metrics are of, and so waits for both.
        if evaluates or saves or stopped or done == intervals.steps or self.callbacks:
            self.owes_evaluation = evaluates
            self._call_back("train", history.flush())
        if intervals.logs_after(done):
            line.update(done, history.last_loss)
        # A run that a callback ends is evaluated as after its last step.
        if self.evaluate is not None and (evaluates or self.ended):
            self._evaluate()

    def _evaluate(self) -> None:
        assert self.evaluate is not None
        self.owes_evaluation = True
        with self._saved_on_error():
            metrics = self.evaluate(self.state)
            self.history.check_evaluation(metrics)
            if self.best is not None:
                self.best.check(metrics)
        self._check_owner()
        metrics = self.history.add_evaluation(self.done, metrics)
        self.owes_evaluation = False
        if self.best is not None:
            self.best.update(self.state)
        self._call_back("eval", metrics)

    def _call_back(self, split: Split, metrics: Mapping[str, Any] | None) -> None:
        if metrics is None or not self.callbacks:
            return
        event = FitEvent(self.done, self.intervals.steps, split, metrics, self.state)
        with self._saved_on_error():
            self.ended = asks_to_stop(self.callbacks, event) or self.ended

    @contextlib.contextmanager
    def _saved_on_error(self) -> Iterator[None]:
        # What functions of the caller's and batches raise must not cost the steps made. A second
        # Ctrl-C stops at once, and of a job one process alone may have the error.
        try:
            yield
        except (Exception, Interrupted) as error:
            if self.checkpoints is not None and self.done and jax.process_count() == 1:
                error.add_note(self._save_for_later(self.checkpoints))
            raise

    def _save_for_later(self, checkpoints: Checkpoints) -> str:
        """Saves the state, as far as that can be done; returns what to say of it."""
        try:
            self.history.flush()
            self._save(checkpoints)
        except Exception as other:
            return f"The state after step {self.done} could not be saved: {other}"
        first = ", evaluating first" if self.owes_evaluation else ""
        return (
            f"The state after step {self.done} is saved in {self.workdir}: mend what raised the "
            f"error and call fit again, which goes on from there{first}"
        )

    def _save(self, checkpoints: Checkpoints) -> None:
        check_finite(self.step, self.state)
        self._check_owner()
        self.history.loggers.flush()
        metadata = {**self.history.metadata(), "run": as_document(self.fields)}
        # A run that is called again as before is then over at once.
        metadata |= {"ended": self.ended, "owes_evaluation": self.owes_evaluation}
        if self.best is not None:
            metadata["best"] = self.best.metadata()
        metadata["batches"] = self.batches.position(self.done)
        checkpoints.save(self.state, metadata)
        if self.best is not None:
            self.best.after_checkpoint()

    def _check_owner(self) -> None:
        """Stops before anything is written where another process has taken the work directory."""
        if self.owner is not None:
            self.owner.check()

    def _save_nonfinite(self) -> str:
        """Saves a state with numbers that are not finite; returns advice for the message."""
        advice = (
            "Lower the learning rate, look at the inputs, or at schedules that leave the "
            "temperatures which sparse targets declare; optax.apply_if_finite around the optimizer "
            "leaves out single updates that are not finite"
        )
        if self.workdir is None:
            return advice
        directory = self.workdir / "nonfinite"
        if is_main_process():
            shutil.rmtree(directory, ignore_errors=True)  # of an earlier attempt
        sync_processes("nonfinite")
        with Checkpoints(directory, max_to_keep=1) as checkpoints:
            checkpoints.save(self.state)
        return (
            f"The newest checkpoint is left as it was; the state at hand is saved in {directory} "
            f"to be looked at. {advice}"
        )
