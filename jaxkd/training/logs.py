"""Loggers, to which `fit` gives its metrics: CSV files, TensorBoard, Weights & Biases, trackio.

A logger is any object with the methods of `Logger`. A `workdir` brings `CSV` and `TensorBoard`;
`fit(…, loggers=[logs.WandB(project="digits")])` adds others.
"""

from __future__ import annotations

import csv
import importlib
import math
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from jaxkd._files import local_path
from jaxkd.training._csv_rows import INTEGERS, Rows, difference, read_until, write_whole

Split = Literal["train", "eval"]


class Logger(Protocol):
    """What `fit` gives the metrics of a log interval or an evaluation to.

    Two more methods are called where a logger has them: `begin(step)` before training, with the
    number of steps made before, and `flush()` before a checkpoint. Rows of later steps than
    `begin` says, of an earlier process that was killed, come once more, and are the same.

    Example:
      >>> class Printed:
      ...     def write(self, step, values, split):
      ...         print(step, split, values)
      ...     def close(self):
      ...         pass
      >>> logger: Logger = Printed()
      >>> logger.write(100, {"loss": 0.5}, "train")
      100 train {'loss': 0.5}
    """

    def write(self, step: int, values: Mapping[str, float], split: Split) -> None:
        """Takes one row of metrics.

        Args:
          step: number of steps made.
          values: metric → number, nan where nothing was counted; of students that train together
            also the number of the student as `member`.
          split: `"train"` for the means over a log interval, `"eval"` for an evaluation.
        """

    def close(self) -> None:
        """Ends the log; `fit` calls it at its end, also after an error."""


class CSV:
    """Rows of metrics in `train.csv` and `eval.csv`.

    A row is complete on disk when `write` returns. When a run resumes at a step, rows of later
    steps and an incomplete last line are dropped first, so that no line is doubled or missing.

    Args:
      directory: directory of the files, created if missing.
      resume_step: the step that training resumes at, 0 for a new run; `begin` sets it, too.
      write: whether this process writes; one of a job does, the others know the rows.

    Raises:
      ValueError: a line of a file is no row, or does not follow the one before, when the file is
        first used; names the line.

    Example:
      >>> import tempfile
      >>> directory = tempfile.mkdtemp()
      >>> log = CSV(directory)
      >>> log.write(100, {"loss": 0.5}, "train")
      >>> log.close()
      >>> pathlib.Path(directory, "train.csv").read_text().splitlines()
      ['step,loss', '100,0.5']
    """

    def __init__(self, directory: str | pathlib.Path, *, resume_step: int = 0, write: bool = True):
        self._directory = local_path(directory)
        self._write = write
        self._directory.mkdir(parents=True, exist_ok=True)
        self._resume_step = resume_step
        self._rows: dict[str, Rows] = {}

    def begin(self, step: int) -> None:
        """Sets the step that training resumes at; files are read anew when they are next used."""
        self._resume_step = step
        self._rows = {}

    def write(self, step: int, values: Mapping[str, float], split: Split) -> None:
        """Appends one row to `<split>.csv`.

        Args:
          step: the training step.
          values: metric → number; the same names in each row of a file.
          split: name of the file.

        Raises:
          ValueError: other names than in the file's first row.
        """
        row = {"step": step, **{k: v if k in INTEGERS else float(v) for k, v in values.items()}}
        rows = self._rows_of(split)
        if rows and list(rows[0]) != list(row):
            raise ValueError(
                f"{split}.csv has the columns {list(rows[0])}, not {list(row)}: return the same "
                "metrics as before, or choose another workdir; rows of one file have one form"
            )
        if self._write:
            self._append(self._directory / f"{split}.csv", row, header=not rows)
        rows.append(row)

    def _append(self, file: pathlib.Path, row: dict[str, Any], *, header: bool) -> None:
        try:
            with open(file, "a", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, list(row))
                if header:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise type(error)(
                error.errno,
                f"the row of step {row['step']} could not be written to {file} ({error.strerror}): "
                "make room and start the same command again; it goes on from the newest checkpoint",
            ) from error

    def rows(self, split: Split) -> Rows:
        """Returns all rows of a file so far, those before a resume included.

        Args:
          split: name of the file without its suffix.

        Returns:
          One dictionary a row.
        """
        return list(self._rows_of(split))

    def restore(self, split: Split, rows: Rows) -> None:
        """Gives a file the rows that a checkpoint holds; warns if it did not have them.

        Args:
          split: name of the file without its suffix.
          rows: all rows up to the step that training resumes at.
        """
        if self._write:
            file = self._directory / f"{split}.csv"
            try:
                fault = difference(file, read_until(file, self._resume_step), rows)
            except ValueError as error:
                fault = str(error)
            if fault:
                warnings.warn(
                    f"{fault}; its {len(rows)} rows are restored from the checkpoint", stacklevel=2
                )
        self.replace(split, rows)

    def replace(self, split: Split, rows: Rows) -> None:
        """Gives a file other rows.

        Args:
          split: name of the file without its suffix.
          rows: all of them, with the same columns.
        """
        self._rows[split] = list(rows)
        if self._write:
            write_whole(self._directory / f"{split}.csv", rows)

    def close(self) -> None:
        """Does nothing: every row is on disk already."""

    def _rows_of(self, split: str) -> Rows:
        """Returns the rows of a file, which is read before its first row is written."""
        if split not in self._rows:
            file = self._directory / f"{split}.csv"
            self._rows[split] = read_until(file, self._resume_step)
            if self._write:
                write_whole(file, self._rows[split])
        return self._rows[split]


class TensorBoard:
    """Metrics as TensorBoard's event files, `train/loss` and the like.

    Args:
      directory: directory of the files.

    Raises:
      ImportError: tensorboardX is not installed.

    Example:
      >>> TensorBoard("runs/kd").write(100, {"loss": 0.5}, "train")  # doctest: +SKIP
    """

    def __init__(self, directory: str | pathlib.Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard logs need tensorboardX: pip install "
                "'jaxkd-distill[experiments]', or pass tensorboard=False"
            ) from error
        self._make, self._directory = SummaryWriter, local_path(directory)
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Opens an event file; what TensorBoard has of later steps is dropped."""
        self._writer = self._make(str(self._directory), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float], split: Split) -> None:
        """Adds one row, see `Logger`."""
        if self._writer is None:
            self.begin(step - 1)
        for name, value in _by_tag(values, split).items():
            # An accuracy without labels is nan, of which the writer would warn.
            if not math.isnan(value):
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Writes all rows to disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


class _Service:
    """Metrics in a run of a package with `init(…)`, whose result has `log` and `finish`."""

    package: str

    def __init__(self, **options: Any):
        try:
            self._module = importlib.import_module(self.package)
        except ImportError as error:
            raise ImportError(
                f"logs.{type(self).__name__} needs {self.package}: pip install "
                f"'jaxkd-distill[{self.package}]'"
            ) from error
        self._options, self._run = options, None

    def begin(self, step: int) -> None:
        """Starts the run of the service."""
        del step
        if self._run is None:
            self._run = self._module.init(**self._options)

    def write(self, step: int, values: Mapping[str, float], split: Split) -> None:
        """Adds one row, see `Logger`."""
        self.begin(step)
        assert self._run is not None
        self._run.log(_by_tag(values, split), step=step)

    def close(self) -> None:
        """Ends the run of the service."""
        if self._run is not None:
            self._run.finish()
        self._run = None


class WandB(_Service):
    """Metrics in a run of Weights & Biases, `train/loss` and the like.

    A run that is resumed after a kill goes on in the same run of the service if it is named:
    `WandB(project="digits", id="kd-1", resume="allow")`.

    Args:
      **options: of `wandb.init`.

    Raises:
      ImportError: wandb is not installed.

    Example:
      >>> WandB(project="digits", id="kd-1", resume="allow")  # doctest: +SKIP
    """

    package = "wandb"


class Trackio(_Service):
    """Metrics in a run of trackio, `train/loss` and the like.

    A run that is resumed after a kill goes on in the same run of the service if it is named:
    `Trackio(project="digits", name="kd-1", resume="allow")`.

    Args:
      **options: of `trackio.init`.

    Raises:
      ImportError: trackio is not installed.

    Example:
      >>> Trackio(project="digits", name="kd-1", resume="allow")  # doctest: +SKIP
    """

    package = "trackio"


def _by_tag(values: Mapping[str, float], split: str) -> dict[str, float]:
    """Returns `train/loss` → number, of one of several students `train/loss/3`."""
    member = f"/{values['member']}" if "member" in values else ""
    return {f"{split}/{k}{member}": float(v) for k, v in values.items() if k not in INTEGERS}
