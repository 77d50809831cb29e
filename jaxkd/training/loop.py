"""The training loop: scanned steps, logs, evaluation, checkpoints, resume."""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from jaxkd.data._examples import check_vocabulary
from jaxkd.training._checkpoints import Checkpoints
from jaxkd.training._logs import Logs
from jaxkd.training._preemption import Preempted, StopSignal
from jaxkd.training._record import Record, Rows
from jaxkd.training._workdir import bind_config, writeable
from jaxkd.training.distributed import is_first, wait_for_all
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep


class Batches(Protocol):
    """Batches by step number, as `jaxkd.data.Loader` has them."""

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training leaves.

    Attributes:
      state: after the last step.
      train: one row for each stretch of `log_every` steps: `step` and the means of the metrics. Of
        students that train together each has a row, with its number as `member`.
      eval: likewise for each evaluation: `step` and what `evaluate` returned.
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
    evaluate: Callable[[TrainState], Mapping[str, Any]] | None = None,
    checkpoint_every: int | None = None,
    workdir: str | pathlib.Path | None = None,
    config: Mapping[str, Any] | None = None,
    steps_per_call: int | None = None,
    tensorboard: bool = True,
    progress: str | None = "training",
    profile: int | None = None,
) -> Fitted:
    """Trains for a number of steps, from the newest checkpoint in `workdir` if there is one.

    Metrics come to the host at log steps alone. Killed at any moment and called again with the same
    arguments, it ends in the same parameters to the last bit, with each line once in its CSV files.
    The number of devices may change in between; the results then differ by rounding. In a job of
    several processes each calls it alike; the first one writes logs and shows progress, all write
    checkpoints.

    Args:
      step: from `jaxkd.make_train_step`.
      state: the state at step 0; its memory is reused.
      batches: `batches[step]` is the batch of a step, a function of nothing else.
      steps: updates in all, those before a resume included.
      log_every: steps between two rows of `train.csv`.
      eval_every: steps between two evaluations, a multiple of `log_every`; None evaluates after the
        last step alone.
      evaluate: from the state to numbers for `eval.csv`, and called after the last step as well.
      checkpoint_every: steps between two checkpoints, a multiple of `log_every`; None saves after
        the last step alone.
      workdir: gets `checkpoints/`, `train.csv`, `eval.csv` and TensorBoard's files; None keeps all
        in memory. All processes of a job see the same one.
      config: nested plain data that `workdir` is bound to (`jaxkd.training.bind_config`): another
        configuration is refused rather than continued from these checkpoints.
      steps_per_call: steps in one call of the compiled program. By default 1 on CPU, where XLA
        compiles its own convolutions inside loops to much slower code, and up to 32 elsewhere.
        Networks of `jaxkd.models` and all whose convolutions are `jaxkd.ops.conv_general_dilated`
        gain from a larger number on CPU, too.
      tensorboard: whether to write event files (needs `tensorboardX`).
      progress: text before the progress bar, None for no bar.
      profile: so many steps after the first call are traced into `workdir/profile`, for
        TensorBoard or Perfetto; None for no trace.

    Returns:
      A `Fitted`.

    Raises:
      ValueError: intervals that are not multiples of `log_every`, a `workdir` of another
        configuration, of more steps or of another state, a student with fewer classes, or a
        network with fewer embeddings, than the data have, a trace without a `workdir`; before
        anything runs.
      OSError: `workdir` cannot be written to, before anything runs or when the disk is full; what
        was saved stays whole.
      FloatingPointError: the loss is not finite at a log step, or a parameter at a checkpoint
        (of all students that train together); names the step. The newest checkpoint is left as it
        was, and the state is saved in `workdir/nonfinite` to be looked at. An optimizer inside
        `optax.apply_if_finite` leaves out such updates instead.
      Preempted: SIGTERM arrived, and the state was saved; without a `workdir` there is nowhere to
        save it: a process of its own then dies of the signal as usual.
    """
    if steps_per_call is None:
        steps_per_call = 1 if jax.default_backend() == "cpu" else min(max(log_every, 1), 32)
    _check_intervals(steps, log_every, eval_every, checkpoint_every, steps_per_call)
    _check_profile(profile, workdir)
    _check_process(step, batches)
    with contextlib.ExitStack() as stack:
        checkpoints = logs = None
        notes: dict[str, Any] = {}
        # Alone and without a place to save to, a process may as well die of the signal.
        listens = workdir is not None or jax.process_count() > 1
        stop = stack.enter_context(StopSignal()) if listens else None
        if workdir is not None:
            workdir = writeable(workdir) if config is None else bind_config(workdir, config)
            checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
            if checkpoints.latest() is not None:
                state, notes = checkpoints.restore(state)
            logs = Logs(
                workdir,
                resume_step=int(state.step),
                tensorboard=tensorboard,
                write=is_first(),
            )
            stack.callback(logs.close)
        done = int(state.step)
        if done > steps:
            raise ValueError(
                f"{workdir} holds a run of {done} steps, more than the {steps} wanted: choose "
                "another workdir, or delete this one"
            )
        if done < steps:
            _check_data(step, state, batches, done)
        record = Record(logs, step.members)
        record.resume(notes, step)
        bar = stack.enter_context(_bar(progress if is_first() else None, steps, done))
        trace = stack.enter_context(_Trace(profile, workdir))
        while done < steps:
            count = min(steps_per_call, log_every - done % log_every, steps - done)
            stretch = step.put(_stack(batches, done, count, steps_per_call), leading=1)
            number = step.put(np.int32(count))
            state, record.sums = step.many(state, stretch, number, record.sums)
            done += count
            trace.after(count, state)

            def at(every: int | None, done: int = done) -> bool:
                return done == steps or (every is not None and done % every == 0)

            to_evaluate = evaluate is not None and at(eval_every)
            to_save = checkpoints is not None and at(checkpoint_every)
            stopped = stop is not None and stop.reached()
            try:
                record.settle()  # the stretch before, while the device works on the steps after it
                if at(log_every):
                    record.end_stretch(done)
                    bar(done)
                if to_evaluate or to_save or stopped or done == steps:
                    record.settle()
                if to_evaluate and evaluate is not None:
                    record.evaluation(done, evaluate(state))
                if (to_save or stopped) and checkpoints is not None and logs is not None:
                    _check_finite(step, state, done)
                    logs.flush()
                    checkpoints.save(state, record.notes())
            except FloatingPointError as error:
                raise FloatingPointError(f"{error}. {_advice(workdir, state)}") from None
            if stopped or (stop is not None and stop.heard and done == steps):
                raise Preempted(done, workdir)
        return Fitted(state, record.train, record.evaluations)


def _check_data(step: TrainStep, state: TrainState, batches: Batches, index: int) -> None:
    dataset = getattr(batches, "dataset", None)
    if dataset is None:
        return
    check_vocabulary(dataset, **step.vocab_sizes)
    # Shapes alone: networks are written without regard to the types of an Explicit mesh.
    plain = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    logits = jax.eval_shape(step.logits, plain, batches[index])
    if logits is None:  # see `jaxkd.networks.without_logits`
        return
    shape = logits.shape
    if shape[-1] < dataset.num_classes:
        what = "tokens in its vocabulary" if dataset.labels.ndim > 1 else "classes"
        raise ValueError(
            f"the student's logits {shape} have {shape[-1]} classes, the data set {dataset.name} "
            f"has {dataset.num_classes} {what}: widen the student's head"
        )


def _check_process(step: TrainStep, batches: Batches) -> None:
    reads = getattr(batches, "process", None)
    wanted = step.partitioning.process if step.partitioning else (0, 1)
    if reads is not None and reads != wanted:
        raise ValueError(
            f"the batches are part {reads[0]} of {reads[1]}, the step wants part {wanted[0]} of "
            f"{wanted[1]} from this process: make the Loader with process={wanted}, or the step "
            "with the partitioning that the batches are for"
        )


def _check_profile(profile: int | None, workdir: Any) -> None:
    if profile is not None and profile < 1:
        raise ValueError(f"profile must be at least 1 step, not {profile}")
    if profile is not None and workdir is None:
        raise ValueError(f"profile={profile} needs a workdir to write the trace to")


def _check_finite(step: TrainStep, state: TrainState, done: int) -> None:
    """Raises FloatingPointError if a parameter is no number, in every one of several students."""
    if not np.asarray(step.finite(state.params)).any():
        raise FloatingPointError(f"a parameter is not finite after step {done}")


def _advice(workdir: pathlib.Path | None, state: TrainState) -> str:
    advice = (
        "Lower the learning rate, look at the inputs, or at schedules that leave the temperatures "
        "which sparse targets declare; optax.apply_if_finite around the optimizer leaves out "
        "single updates that are not finite"
    )
    if workdir is None:
        return advice
    if is_first():
        shutil.rmtree(workdir / "nonfinite", ignore_errors=True)  # of an earlier attempt
    wait_for_all("nonfinite")
    with Checkpoints(workdir / "nonfinite", max_to_keep=1) as checkpoints:
        checkpoints.save(state)
    return (
        f"The newest checkpoint is left as it was; the state at hand is saved in "
        f"{workdir / 'nonfinite'} to be looked at. {advice}"
    )


class _Trace:
    """Traces some steps, from the second call on: the first one compiles."""

    def __init__(self, steps: int | None, workdir: pathlib.Path | None):
        self._left, self._workdir, self._running = steps or 0, workdir, False

    def after(self, count: int, state: TrainState) -> None:
        """To be told of each call."""
        if self._running:
            self._left -= count
            if self._left <= 0:
                self._stop(state)
        elif self._left > 0:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._workdir / "profile"))  # type: ignore[operator]
            self._running = True

    def _stop(self, state: TrainState | None) -> None:
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        self._running = False

    def __enter__(self) -> "_Trace":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._running:
            self._stop(None)


def _check_intervals(
    steps: int,
    log_every: int,
    eval_every: int | None,
    checkpoint_every: int | None,
    steps_per_call: int,
) -> None:
    for name, value in {
        "steps": steps,
        "log_every": log_every,
        "eval_every": eval_every,
        "checkpoint_every": checkpoint_every,
        "steps_per_call": steps_per_call,
    }.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    for name, value in {"eval_every": eval_every, "checkpoint_every": checkpoint_every}.items():
        if value is not None and value % log_every and value < steps:
            fitting = max(1, value // log_every) * log_every
            raise ValueError(
                f"{name}={value} must be a multiple of log_every={log_every}, so that nothing that "
                f"was measured is lost between two of them; {fitting} is one"
            )


def _stack(batches: Batches, start: int, count: int, size: int) -> Any:
    """Batches along a new first axis, filled up to `size` with the last one."""
    if size == 1:
        return jax.tree.map(lambda leaf: leaf[None], batches[start])
    some = [batches[start + index] for index in range(count)]
    some += [some[-1]] * (size - count)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *some)


@contextlib.contextmanager
def _bar(text: str | None, steps: int, done: int) -> Iterator[Callable[[int], None]]:
    if text is None:
        yield lambda done: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, refresh_per_second=4) as progress:
        task = progress.add_task(text, total=steps, completed=done)
        yield lambda done: progress.update(task, completed=done)
