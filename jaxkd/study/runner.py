"""The one way in which a study trains a network, and keeps what it gave.

A `Training` says what is trained, on which batches, for how long and where it is kept; `train` runs
it, or takes it up where it was interrupted. What all of a training's users share is here: intervals
of logs, evaluations and checkpoints, timing, profiling, learning curves.

    step = runtime.train_step(student, objective, optimizer, batch_size=64, views=views)
    trained = train(
        Training(
            workdir=workdir / "student",
            step=step,
            loader=runtime.loader(examples, views, 64, seed=seed, cache=cache),
            steps=1000,
            seed=seed,
            evaluate=lambda state: evaluator.scores(state.network(student)),
        ),
        runtime,
    )
    trained.network, trained.seconds, trained.curve("accuracy")

Students of several seeds share one compiled step: `step` is made once, and each `Training` is given
its own `student`, and its own `objective` where connectors have initial variables of their own. A
`Population` gives its `step`, and its `init()` as `state`.

`saved` writes the arrays that a finished run gave to a file, and reads them from it the next time:

    result = saved(workdir / "student" / "result.npz", lambda: {"logits": evaluator.logits(...)})
"""

import dataclasses
import io
import math
import pathlib
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from jaxkd import Network, Objective, TrainState
from jaxkd._files import write_atomically
from jaxkd.data import Loader
from jaxkd.study.runtime import Runtime
from jaxkd.training import TrainStep, fit, is_main_process, sync_processes

T = TypeVar("T")
# Bytes of a title in the name of a folder, of which a file system takes 255.
_LONGEST_TITLE = 180


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a network, or of a population of networks.

    Attributes:
      workdir: folder of its checkpoints, logs and profile.
      step: compiled train step, which students of several seeds may share.
      loader: batches; closed at the end.
      steps: number of updates.
      seed: seed of the root key, for dropout and the like.
      student: untrained network; None for the step's own.
      objective: objective whose connectors have the initial variables of this seed; None for the
        step's own.
      state: state before the first step, of a population; None for the step's `init`.
      evaluate: function from the state to numbers for the learning curve; None for no curve.
      log_every: number of steps between two rows of the log; None for a twentieth of the training.
      logs_per_evaluation: number of log intervals between two evaluations.
      logs_per_checkpoint: number of log intervals between two checkpoints.
      steps_per_call: see `jaxkd.training.fit`.
      tensorboard: whether to write event files for TensorBoard.
      progress: text before the line of progress; None for the folder's name, empty for none.
    """

    workdir: pathlib.Path
    step: TrainStep
    loader: Loader
    steps: int
    seed: int = 0
    student: Network | None = None
    objective: Objective | None = None
    state: TrainState | None = None
    evaluate: Callable[[TrainState], Mapping[str, Any]] | None = None
    log_every: int | None = None
    logs_per_evaluation: int = 2
    logs_per_checkpoint: int = 10
    steps_per_call: int | None = None
    tensorboard: bool = True
    progress: str | None = None


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
      state: state after the last step.
      student: the network that was trained, with its initial variables.
      rows: one row an evaluation, `step` and what `evaluate` returned.
      seconds: duration of the training; nan where it was interrupted and resumed.
      logged: one row a log interval, its mean loss among them.
    """

    state: TrainState
    student: Network
    rows: list[dict[str, Any]]
    seconds: float
    logged: list[dict[str, Any]]

    @property
    def network(self) -> Network:
        """The trained network."""
        return self.state.network(self.student)

    def curve(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the steps of the evaluations and a metric at them, both `[points]`."""
        steps = np.array([int(row["step"]) for row in self.rows])
        return steps, np.array([float(row[metric]) for row in self.rows])


def train(training: Training, runtime: Runtime) -> Trained:
    """Runs a training, from its newest checkpoint where there is one.

    Args:
      training: what to train.
      runtime: gives the number of steps to trace.

    Returns:
      The trained network, its learning curve and the seconds that it took.

    Raises:
      ValueError: what `jaxkd.training.fit` refuses.
    """
    step, student = training.step, training.student or training.step.student
    title = training.workdir.name if training.progress is None else training.progress

    def run() -> Any:
        state = training.state
        if state is None:
            state = step.init(training.seed, student=student, objective=training.objective)
        log_every = training.log_every or max(1, training.steps // 20)
        evaluating = training.evaluate is not None
        with training.loader as loader:
            return fit(
                step,
                state,
                loader,
                steps=training.steps,
                log_every=log_every,
                eval_every=log_every * training.logs_per_evaluation if evaluating else None,
                evaluate=training.evaluate,
                checkpoint_every=log_every * training.logs_per_checkpoint,
                workdir=training.workdir,
                steps_per_call=training.steps_per_call,
                tensorboard=training.tensorboard,
                progress=title or None,
                profile=runtime.profile,
            )

    fitted, seconds = timed(training.workdir, run)
    return Trained(fitted.state, student, list(fitted.eval), seconds, list(fitted.train))


def timed(workdir: pathlib.Path, run: Callable[[], T]) -> tuple[T, float]:
    """Runs a function and measures it; nan seconds where it resumes what is in the folder."""
    resumed = workdir.exists() and any(workdir.rglob("checkpoints"))
    started = time.perf_counter()
    value = run()
    return value, math.nan if resumed else time.perf_counter() - started


def file_name(text: str) -> str:
    """Returns a title as the name of a file or a folder."""
    return "".join(c if c.isalnum() else "_" for c in text.lower())


def named_folder(title: str, content: str) -> str:
    """Returns the name of a folder of a title, of any length, and a digest of its content."""
    name = file_name(title)
    while len(name.encode()) > _LONGEST_TITLE:
        name = name[:-1]
    return f"{name}_{content}"


def saved(file: pathlib.Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Reads arrays by name from their file; makes and writes them where it does not exist.

    Args:
      file: name of the `.npz` file.
      make: function that returns the arrays; all processes of a job call it together.

    Returns:
      The arrays, as every process of the job reads them.

    Raises:
      ValueError: the file is damaged.
    """
    if not file.exists():
        _write(file, make())
    # Also where the file exists: one process may see it that another has just written.
    sync_processes(str(file))
    return read_arrays(file)


def read_arrays(
    file: pathlib.Path, remedy: str = "delete it, and the same command makes it again"
) -> dict[str, np.ndarray]:
    """Reads arrays by name from their file.

    Args:
      file: name of the `.npz` file.
      remedy: what to do where it is damaged.

    Returns:
      The arrays.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        with np.load(file) as stored:
            return dict(stored)
    # A file of one array, or of something else, has no names.
    except (EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged ({error}): {remedy}") from error


def save(file: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays to a file that all processes can read afterwards."""
    _write(file, arrays)
    sync_processes(str(file))


def _write(file: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Writes in the first process alone, and never half a file."""
    if not is_main_process():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(file, buffer.getvalue())
