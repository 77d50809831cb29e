"""The training loop: scanned steps, logs, evaluation, checkpoints, resume."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from jaxkd.training._evaluated import check_classes, within_run
from jaxkd.training._history import MetricsHistory, Rows
from jaxkd.training._intervals import Intervals
from jaxkd.training._monitors import ProfilerTrace, progress_bar
from jaxkd.training._run_fields import Fields, as_document, check_run, run_fields
from jaxkd.training._validation import (
    check_allow,
    check_cache,
    check_data,
    check_finite,
    check_kinds_of_run,
    check_modes,
    check_process,
    check_profile,
    check_views,
)
from jaxkd.training.checkpoints import Checkpoints
from jaxkd.training.distributed import is_main_process, sync_processes
from jaxkd.training.logs import Logs
from jaxkd.training.ownership import WorkdirOwner, own_workdir
from jaxkd.training.preemption import Preempted, StopSignal
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep
from jaxkd.training.workdir import bind_config, writeable

# From the state to numbers by name; of a population, to arrays of one number a member.
Evaluate = Callable[[TrainState], Mapping[str, Any]]


class Batches(Protocol):
    """Batches by step number, such as a `jaxkd.data.Loader`."""

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns the batch of a step."""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """The result of `fit`.

    Attributes:
      state: the state after the last step.
      train: one row for each log interval: `step` and the means of the metrics. Of students that
        train together each has a row, with its number as `member`.
      eval: one row for each evaluation, likewise: `step` and what `evaluate` returned.
    """

    state: TrainState
    train: Rows
    eval: Rows


def fit(
    step: TrainStep,
    state: TrainState,
    batches: Batches,
    *,
    steps: int,
    log_every: int = 100,
    eval_every: int | None = None,
    evaluate: Evaluate | None = None,
    checkpoint_every: int | None = None,
    workdir: str | pathlib.Path | None = None,
    config: Mapping[str, Any] | None = None,
    steps_per_call: int | None = None,
    tensorboard: bool = True,
    progress: str | None = "training",
    profile: int | None = None,
    allow: Collection[str] = (),
) -> FitResult:
    """Trains for a number of steps, from the newest checkpoint in `workdir` if there is one.

    Metrics come to the host at log steps alone. Killed at any moment and called again with the same
    arguments, it ends in the same parameters to the last bit, with each line once in its CSV files.
    The number of devices may change in between; the results then differ by rounding. In a job of
    several processes each calls it alike; the first one writes logs and shows progress, all write
    checkpoints.

    Args:
      step: from `jaxkd.make_train_step`.
      state: the state at step 0, from `step.init`; its memory is reused.
      batches: `batches[step]` is the batch of a step, a function of nothing else. An
        attribute `views`, as of a `Loader`, must be the views that the step renders; batches that
        are rendered already, or by a `batch_transform`, have none.
      steps: number of updates in all, those before a resume included.
      log_every: number of steps between two rows of `train.csv`.
      eval_every: number of steps between two evaluations, a multiple of `log_every`; None
        evaluates after the last step alone.
      evaluate: function from the state to numbers for `eval.csv`, called after the last step as
        well; None for no evaluation. Where it calls `jaxkd.training.evaluate` or `predict` on the
        student and `jaxkd.data.eval_batches`, classes and normalization are compared with those of
        the run; batches of another iterator, a list for one, are not.
      checkpoint_every: number of steps between two checkpoints, a multiple of `log_every`; None
        saves after the last step alone.
      workdir: directory for `checkpoints/`, `train.csv`, `eval.csv` and TensorBoard's files; None
        keeps all in memory. All processes of a job see the same one.
      config: nested plain data that `workdir` is bound to (`jaxkd.training.bind_config`): another
        configuration is refused rather than continued from these checkpoints.
      steps_per_call: number of steps in one call of the compiled program. By default 1 on CPU,
        where XLA compiles its own convolutions inside loops to much slower code, and up to 32
        elsewhere. Networks of `jaxkd.models` and all whose convolutions are
        `jaxkd.ops.conv_general_dilated` gain from a larger number on CPU, too.
      tensorboard: whether to write event files (needs `tensorboardX`).
      progress: text before the progress bar, None for no bar.
      profile: number of steps after the first call that are traced into `workdir/profile`, for
        TensorBoard or Perfetto; nothing is traced if the run ends with its first call; None for no
        trace.
      allow: names of what may differ where it would be refused: a part of the run, as
        `"optimizer"`, or one of its fields, as `"teacher.parameters"`; error messages name them.

    Returns:
      The state after the last step, and all rows of metrics, those before a resume included.

    Raises:
      TypeError: a step, a state or names to allow of another kind.
      ValueError: `steps` or an interval below 1, intervals that are not multiples of `log_every`,
        a `workdir` of another configuration, of more steps or of another state, a student with
        fewer classes, or a network with fewer embeddings, than the data have, batches of other
        views than the step renders, an evaluation of the student (by `jaxkd.training.evaluate` or
        `predict`) on other classes or another normalization, a trace without a `workdir`; a
        network that is random in
        evaluation or depends there on the rest of the batch, or a student whose dropout or
        statistics training leaves off (`allow={"student.mode"}`); before anything runs.
      RuntimeError: another process or thread writes to `workdir`
        (`jaxkd.training.own_workdir`), before anything runs; or it has taken over a directory whose
        owner it took for dead.
      OSError: `workdir` cannot be written to, before anything runs or when the disk is full; what
        was saved stays whole.
      FloatingPointError: the loss is not finite at a log step, or a parameter at a checkpoint
        (of all students that train together); names the step. The newest checkpoint is left as it
        was, and the state is saved in `workdir/nonfinite` for inspection. An optimizer inside
        `optax.apply_if_finite` leaves out such updates instead.
      Preempted: SIGTERM arrived, and the state was saved; without a `workdir` there is nowhere to
        save it: a process of its own then dies of the signal as usual.
    """
    if steps_per_call is None:
        steps_per_call = 1 if jax.default_backend() == "cpu" else min(max(log_every, 1), 32)
    intervals = Intervals(steps, log_every, eval_every, checkpoint_every, steps_per_call)
    check_kinds_of_run(step, state)
    allow = check_allow(allow)
    check_profile(profile, workdir)
    check_process(step, batches)
    check_views(step, batches, allow)
    check_cache(step, batches)
    check_classes(getattr(batches, "dataset", None), getattr(evaluate, "dataset", None), allow)
    with contextlib.ExitStack() as stack:
        # A process of its own without a workdir has nothing to save: the signal ends it as usual.
        handles = workdir is not None or jax.process_count() > 1
        stop = stack.enter_context(StopSignal()) if handles else None
        checkpoints = logs = owner = None
        if workdir is not None:
            owner = stack.enter_context(own_workdir(workdir))
            workdir = writeable(workdir) if config is None else bind_config(workdir, config)
            checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
        given = state
        state, metadata = _resume(checkpoints, state)
        done = int(state.step)
        if done > steps:
            raise ValueError(
                f"{workdir} holds a run of {done} steps, more than steps={steps}: choose "
                "another workdir, or delete this one"
            )
        batch = batches[done] if done < steps else None
        if batch is not None:
            check_data(step, state, batches, batch)
        if batch is not None and done == 0:
            check_modes(step, batch, allow)
        fields: Fields = {}
        if workdir is not None:
            fields = run_fields(step, given, batches, batch)
            if checkpoints is not None and checkpoints.latest() is not None:
                fields = check_run(workdir, metadata.get("run"), fields, allow)
            logs = Logs(workdir, resume_step=done, tensorboard=tensorboard, write=is_main_process())
            stack.callback(logs.close)
        if evaluate is not None:
            evaluate = within_run(evaluate, step, batches, batch, allow)
        if batch is not None:
            batches = _FirstBatch(batches, done, batch)
        history = MetricsHistory(logs, step.members, metadata)
        history.restore(metadata, step)
        show = stack.enter_context(
            progress_bar(progress if is_main_process() else None, steps, done)
        )
        trace = stack.enter_context(ProfilerTrace(profile, workdir))
        run = _Run(
            step,
            state,
            intervals,
            history,
            evaluate,
            workdir,
            checkpoints,
            logs,
            stop,
            owner,
            fields,
        )
        while run.done < steps:
            count = run.call(batches)
            trace.after_call(count, run.state)
            run.after_call(show)
        return FitResult(run.state, history.train, history.evaluations)


def _resume(
    checkpoints: Checkpoints | None, state: TrainState
) -> tuple[TrainState, dict[str, Any]]:
    """Returns the newest state saved and its metadata, or the state given where there is none."""
    if checkpoints is None or checkpoints.latest() is None:
        return state, {}
    return checkpoints.restore(state)


class _FirstBatch:
    """Batches of which one has been read already, to look at it before the first step."""

    def __init__(self, batches: Batches, index: int, batch: dict[str, Any]):
        self._batches, self._index, self._batch = batches, index, batch

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns the batch of a step."""
        return self._batch if step == self._index else self._batches[step]


class _Run:
    """A run between its first step and its last: one call of the step, and what follows it.

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
