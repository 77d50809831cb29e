"""The training loop: scanned steps, logs, evaluation, checkpoints, resume."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import jax

from jaxkd._progress import ProgressLine
from jaxkd.networks._network import plural
from jaxkd.training._best import BestState, Criterion, KeepBest
from jaxkd.training._callbacks import Callback, check_callbacks, check_evaluate
from jaxkd.training._csv_rows import Rows
from jaxkd.training._evaluated import within_run
from jaxkd.training._history import MetricsHistory
from jaxkd.training._intervals import Intervals
from jaxkd.training._loggers import Loggers, check_loggers
from jaxkd.training._monitors import ProfilerTrace
from jaxkd.training._run import Evaluate, Run
from jaxkd.training._run_fields import Fields, check_run, run_fields
from jaxkd.training._streams import Batches, Resume, by_step
from jaxkd.training._validation import (
    check_allow,
    check_cache,
    check_data,
    check_kinds_of_run,
    check_modes,
    check_process,
    check_profile,
    check_views,
)
from jaxkd.training.checkpoints import Checkpoints
from jaxkd.training.distributed import is_main_process
from jaxkd.training.logs import CSV, Logger, TensorBoard
from jaxkd.training.ownership import own_workdir
from jaxkd.training.preemption import StopSignal
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep
from jaxkd.training.workdir import bind_config, writeable


@dataclasses.dataclass(frozen=True, repr=False)
class FitResult:
    """The result of `fit`.

    Attributes:
      state: the state after the last step.
      train: one row for each log interval: `step` and the means of the metrics. Of students that
        train together each has a row, with its number as `member`.
      eval: one row for each evaluation, likewise: `step` and what `evaluate` returned.
      best: with `keep_best`, the state of the best evaluation; None where there was none.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, make_train_step, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.zeros((3, 3)))
      >>> step = make_train_step(student, recipes.labels(), optax.sgd(0.1))
      >>> batches = [{"inputs": jnp.eye(3), "labels": jnp.arange(3)}] * 20
      >>> result = fit(step, step.init(), batches, steps=20, log_every=10)
      >>> int(result.state.step), len(result.train), result.eval, result.best
      (20, 2, [], None)
    """

    state: TrainState
    train: Rows
    eval: Rows
    best: TrainState | None = None

    def __repr__(self) -> str:
        lines = [f"FitResult({self.state!r}"]
        for name, rows in (("train", self.train), ("eval", self.eval)):
            if rows:
                last = ", ".join(f"{key} {value:.5g}" for key, value in rows[-1].items())
                lines.append(f"  {name}: {plural(len(rows), 'row')}, the last one {last}")
        if self.best is not None:
            lines.append(f"  best: of step {int(self.best.step)}")
        return "\n".join(lines) + ")"


def fit(
    step: TrainStep,
    state: TrainState,
    batches: Batches | Iterable[Any],
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
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    keep_best: KeepBest | None = None,
    patience: int | None = None,
    progress: str | None = "training",
    profile: int | None = None,
    resume: Resume = "position",
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
      batches: `batches[step]` is the batch of a step, a function of nothing else; or any iterable
        of batches: a generator, Grain's IterDataset, a DataLoader of PyTorch, whose tensors become
        arrays, NumPy's iterator of tf.data. One that can be iterated again begins anew at its end.
        An attribute `views`, as of a `Loader`, must be the views that the step renders; batches
        that are rendered already, or by a `batch_transform`, have none.
      steps: number of updates in all, those before a resume included.
      log_every: number of steps between two rows of `train.csv`.
      eval_every: number of steps between two evaluations, a multiple of `log_every`; None
        evaluates after the last step alone.
      evaluate: function from the state to numbers for `eval.csv`, called after the last step as
        well, as `jaxkd.training.evaluator` makes it; None for no evaluation. Where it calls
        `jaxkd.training.evaluate` or `predict` on the student and `jaxkd.data.eval_batches`, classes
        and normalization are compared with those of the run; batches of another iterator, a list
        for one, are not.
      checkpoint_every: number of steps between two checkpoints, a multiple of `log_every`; None
        saves after the last step, and when a signal or an error stops the run, so that after a
        SIGKILL it begins again.
      workdir: directory for `checkpoints/`, `train.csv`, `eval.csv` and TensorBoard's files; None
        keeps all in memory. All processes of a job see the same one.
      config: nested plain data that `workdir` is bound to (`jaxkd.training.bind_config`): another
        configuration is refused rather than continued from these checkpoints.
      steps_per_call: number of steps in one call of the compiled program. By default 1 on CPU,
        where XLA compiles its own convolutions inside loops to much slower code, and up to 32
        elsewhere. Networks of `jaxkd.models` and all whose convolutions are
        `jaxkd.ops.conv_general_dilated` gain from a larger number on CPU, too.
      tensorboard: whether to write event files in `workdir` (needs `tensorboardX`).
      loggers: what else gets each row of metrics (`jaxkd.training.logs`), as Weights & Biases; any
        object with `write(step, values, split)` and `close()` is one. The first process of a job
        calls them.
      callbacks: functions that are called with a `FitEvent` after each log interval and each
        evaluation, in every process of a job. One that returns True ends the run: its state is
        evaluated and saved as after the last step, and the same call again returns the same
        result, while one without callbacks goes on.
      keep_best: name of a number of `evaluate`. A metric of an `evaluator` says by its class
        whether the highest or the lowest value is the best; of other functions the highest is,
        unless `"min"` is written beside it: `("cross_entropy", "min")`. The state of the first
        best evaluation is kept in memory, or in `workdir/best`, and returned.
      patience: number of evaluations in a row without a better value of `keep_best` after which
        the run ends; None for no such end. The same call again returns the same result, one with
        more patience goes on.
      progress: text before the line of progress, None for no line.
      profile: number of steps after the first call that are traced into `workdir/profile`, for
        TensorBoard or Perfetto; nothing is traced if the run ends with its first call; None for no
        trace.
      resume: how an iterable goes on after a resume: `"position"` restores what the checkpoint
        holds, of objects with `get_state` and `set_state` (Grain) or `state_dict` and
        `load_state_dict`, in one process, and refuses others; `"skip"` reads and drops the batches
        of the steps before; `"as_given"` takes the next one that it gives. Batches by step number
        need none of it.
      allow: names of what may differ where it would be refused: a part of the run, as
        `"optimizer"`, or one of its fields, as `"teacher.parameters"`; error messages name them.

    Returns:
      The state after the last step, and all rows of metrics, those before a resume included; with
      `keep_best` the best state, too.

    Raises:
      TypeError: a step, a state, batches or names to allow of another kind, or a batch that is
        no dictionary.
      ValueError: a state that an earlier call has used up, `steps` or an interval below 1,
        intervals that are not multiples of `log_every`, a `workdir` of another configuration, of
        more steps, of another state or of another run, a student with fewer classes, or a network
        with fewer embeddings, than the data have, batches of other views than the step renders, a
        trace without a `workdir`, a network that is random in evaluation or depends there on the
        rest of the batch, or a student whose dropout or statistics training leaves off
        (`allow={"student.mode"}`), a batch without inputs, an iterable whose position after a
        resume is unknown; before anything runs. Batches that end before the last step, when they
        do. At the first evaluation, and of an `evaluator` before anything runs: one of the student
        (by `jaxkd.training.evaluate` or `predict`) on other classes or another normalization. A
        `keep_best` that no evaluation has, or that is no choice.
      Exception: whatever `evaluate`, callbacks, loggers or batches raise, after the state was saved
        if there is a `workdir`, which a note of the error says; one process of several saves none.
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
      Interrupted: Ctrl-C was pressed in the main thread of one process. The running call of the
        step was finished and the state saved; without a `workdir` the error has it. A second
        Ctrl-C stops at once.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, make_train_step, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.zeros((3, 3)))
      >>> step = make_train_step(student, recipes.labels(), optax.sgd(0.1))
      >>> batches = [{"inputs": jnp.eye(3), "labels": jnp.arange(3)}] * 20
      >>> result = fit(step, step.init(), batches, steps=20, log_every=10)
      >>> [row["step"] for row in result.train], result.train[1]["loss"] < result.train[0]["loss"]
      ([10, 20], True)
    """
    if steps_per_call is None:
        steps_per_call = 1 if jax.default_backend() == "cpu" else min(max(log_every, 1), 32)
    intervals = Intervals(steps, log_every, eval_every, checkpoint_every, steps_per_call)
    check_kinds_of_run(step, state)
    allow = check_allow(allow)
    loggers, callbacks = check_loggers(loggers), check_callbacks(callbacks)
    criterion = Criterion.from_arguments(
        keep_best,
        patience,
        evaluate=evaluate,
        repeats=eval_every is not None,
        members=step.members,
    )
    check_evaluate(evaluate)
    check_profile(profile, workdir)
    check_process(step, batches)
    check_views(step, batches, allow)
    check_cache(step, batches)
    with contextlib.ExitStack() as stack:
        # A process of its own without a workdir has nothing to save: the signal ends it as usual.
        terminates = workdir is not None or jax.process_count() > 1
        stop = stack.enter_context(StopSignal(terminates))
        checkpoints = files = owner = None
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
        states = None
        if criterion is not None and workdir is not None:
            states = stack.enter_context(Checkpoints(workdir / "best", max_to_keep=None))
        ended = bool(callbacks) and bool(metadata.get("ended"))
        over = ended or done == steps
        over = over or (criterion is not None and criterion.ended(metadata, states))
        any_fields = step.options.get("batch_transform") is not None
        # A run that is over takes no batch, so that an iterator's position does not matter.
        position = (0, None) if over else (done, metadata.get("batches"))
        source = by_step(batches, *position, resume, any_fields=any_fields)
        batch = None if over else source[done]
        if batch is not None:
            check_data(step, state, batches, batch)
        if batch is not None and done == 0:
            check_modes(step, batch, allow)
        fields: Fields = {}
        if workdir is not None:
            fields = run_fields(step, given, batches, batch)
            if checkpoints is not None and checkpoints.latest() is not None:
                fields = check_run(workdir, metadata.get("run"), fields, allow)
            files = CSV(workdir, resume_step=done, write=is_main_process())
            if tensorboard and is_main_process():
                loggers = (TensorBoard(workdir), *loggers)
        if evaluate is not None:
            evaluate = within_run(evaluate, step, batches, batch, allow)
        every = stack.enter_context(Loggers(loggers if is_main_process() else (), done))
        history = MetricsHistory(files, every, step.members, metadata)
        history.restore(metadata, step)
        best = None
        if criterion is not None:
            best = BestState(criterion, history.evaluations, states, done, metadata)
        trace = stack.enter_context(ProfilerTrace(profile, workdir))
        run = Run(
            step, state, source, intervals, history, callbacks, fields, evaluate, workdir,
            checkpoints, owner, best, stop, ended,
            evaluate is not None and bool(metadata.get("owes_evaluation")),
        )  # fmt: skip
        shown = progress if is_main_process() and not run.over else None
        line = stack.enter_context(ProgressLine(shown, steps, done, unit="steps"))
        run.evaluate_owed()
        while not run.over:
            with line.compiling() if run.done == done else contextlib.nullcontext():
                count = run.call()
            trace.after_call(count, run.state)
            run.after_call(line)
        if run.why_ended:
            line.say(f"ended after step {run.done}: {run.why_ended}")
        kept = None if best is None else best.state(run.state)
        if stop.received is not None:  # since the last call
            raise stop.error(run.state, workdir)
        return FitResult(run.state, history.train, history.evaluations, kept)


def _resume(
    checkpoints: Checkpoints | None, state: TrainState
) -> tuple[TrainState, dict[str, Any]]:
    """Returns the newest state saved and its metadata, or the state given where there is none."""
    if checkpoints is None or checkpoints.latest() is None:
        return state, {}
    return checkpoints.restore(state)
