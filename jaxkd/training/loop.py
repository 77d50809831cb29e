"""The training loop: scanned steps, logs, evaluation, checkpoints, resume."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.training._checkpoints import Checkpoints
from jaxkd.training._gradients import Sums
from jaxkd.training._logs import Logs
from jaxkd.training._workdir import claim
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep, means

Rows = list[dict[str, float]]


class Batches(Protocol):
    """Batches by step number, as `jaxkd.data.Loader` has them."""

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training leaves.

    Attributes:
      state: after the last step.
      train: one row for each stretch of `log_every` steps: `step` and the means of the metrics.
      eval: one row for each evaluation: `step` and what `evaluate` returned.
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
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    checkpoint_every: int | None = None,
    workdir: str | pathlib.Path | None = None,
    config: Mapping[str, Any] | None = None,
    steps_per_call: int | None = None,
    tensorboard: bool = True,
    progress: str | None = "training",
) -> Fitted:
    """Trains for a number of steps, from the newest checkpoint in `workdir` if there is one.

    Metrics come to the host at log steps alone. Killed at any moment and called again with the same
    arguments, it ends in the same parameters to the last bit, with each line once in its CSV files.

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
        in memory.
      config: nested plain data that `workdir` is bound to (`jaxkd.training.claim`): another
        configuration is refused rather than continued from these checkpoints.
      steps_per_call: steps in one call of the compiled program. By default 1 on CPU, where XLA
        compiles convolutions inside loops to much slower code, and up to 32 elsewhere. A network
        without convolutions gains from a larger number on CPU too.
      tensorboard: whether to write event files (needs `tensorboardX`).
      progress: text before the progress bar, None for no bar.

    Returns:
      A `Fitted`.

    Raises:
      ValueError: intervals that are not multiples of `log_every`, a `workdir` of another
        configuration or of more steps, a student with fewer classes than the data; before anything
        runs.
      FloatingPointError: the loss is not finite at a log step, or a parameter at a checkpoint;
        names the step. The newest checkpoint is left as it was.
    """
    if steps_per_call is None:
        steps_per_call = 1 if jax.default_backend() == "cpu" else min(max(log_every, 1), 32)
    _check_intervals(steps, log_every, eval_every, checkpoint_every, steps_per_call)
    with contextlib.ExitStack() as stack:
        checkpoints = logs = None
        if workdir is not None:
            if config is not None:
                claim(workdir, config)
            checkpoints = stack.enter_context(Checkpoints(pathlib.Path(workdir) / "checkpoints"))
            if checkpoints.latest() is not None:
                state = checkpoints.restore(state)
            logs = Logs(workdir, resume_step=int(state.step), tensorboard=tensorboard)
            stack.callback(logs.close)
        done = int(state.step)
        if done > steps:
            raise ValueError(
                f"{workdir} holds a run of {done} steps, more than the {steps} wanted: choose "
                "another workdir, or delete this one"
            )
        if done < steps:
            _check_classes(step, state, batches, done)
        train: Rows = logs.rows("train") if logs else []
        evals: Rows = logs.rows("eval") if logs else []

        def log(name: str, rows: Rows, at: int, metrics: dict[str, float]) -> None:
            rows.append({"step": at, **metrics})
            if logs:
                logs.write(name, at, metrics)

        def log_train(at: int, parts: list[Sums], count: int) -> None:
            host = jax.device_get(parts)
            sums = {n: np.sum([part[n] for part in host], axis=0, dtype=float) for n in host[0]}
            with np.errstate(invalid="ignore"):
                metrics = {name: float(value) for name, value in means(sums).items()}
            # Other metrics may lack a number, the accuracy of a stretch without labels for one.
            if not math.isfinite(metrics["loss"]):
                raise FloatingPointError(
                    f"the loss is not finite in the {count} steps before step {at}: {metrics}. "
                    "Lower the learning rate, look at the inputs, or at schedules that leave the "
                    "temperatures which sparse targets declare"
                )
            log("train", train, at, metrics)

        bar = stack.enter_context(_bar(progress, steps, done))
        sums: list[Sums] = []
        pending: tuple[int, list[Sums], int] | None = None
        logged = done
        while done < steps:
            count = min(steps_per_call, log_every - done % log_every, steps - done)
            stretch = _stack(batches, done, count, steps_per_call)
            stretch, number = step.put(stretch, leading=1), step.put(np.int32(count))
            state, added = step.many(state, stretch, number)
            sums.append(added)
            done += count
            if pending:  # fetched only now, while the device works on the steps after it
                log_train(*pending)
                pending = None
            if done % log_every == 0 or done == steps:
                pending, sums, logged = (done, sums, done - logged), [], done
                bar(done)
            to_evaluate = evaluate is not None and (
                done == steps or (eval_every is not None and done % eval_every == 0)
            )
            to_save = checkpoints is not None and (
                done == steps or (checkpoint_every is not None and done % checkpoint_every == 0)
            )
            if pending and (to_evaluate or to_save or done == steps):
                log_train(*pending)
                pending = None
            if to_evaluate and evaluate is not None:
                log("eval", evals, done, evaluate(state))
            if to_save and checkpoints is not None and logs is not None:
                if not bool(_finite(state.params)):
                    raise FloatingPointError(
                        f"a parameter is not finite after step {done}; the checkpoint before is "
                        "the newest. Lower the learning rate, or look at the inputs"
                    )
                logs.flush()
                checkpoints.save(state)
        return Fitted(state, train, evals)


def _check_classes(step: TrainStep, state: TrainState, batches: Batches, index: int) -> None:
    dataset = getattr(batches, "dataset", None)
    if dataset is None:
        return
    shape = jax.eval_shape(step.logits, state, batches[index]).shape
    if shape[-1] < dataset.num_classes:
        raise ValueError(
            f"the student's logits {shape} have {shape[-1]} classes, the data set {dataset.name} "
            f"has {dataset.num_classes}: widen the student's head"
        )


@jax.jit
def _finite(params: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


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
