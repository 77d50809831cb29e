"""Metrics on disk: CSV files that survive a kill, and TensorBoard's event files."""

from __future__ import annotations

import csv
import io
import itertools
import math
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

from jaxkd._files import local_path, write_atomically

# One dictionary a row: column → number.
Rows = list[dict[str, Any]]
# Columns of integers.
_INTEGERS = ("step", "member")


class Logs:
    """Rows of metrics in `<name>.csv` and in TensorBoard's event files.

    A row is complete on disk when `write` returns. When a run resumes at a step, rows of later
    steps and an incomplete last line are dropped first, so that no line is doubled or missing.

    Args:
      directory: directory of the files, created if missing.
      resume_step: the step that training resumes at, 0 for a new run.
      tensorboard: whether to write event files too (needs `tensorboardX`).
      write: whether this process writes; one of a job does, the others know the rows.

    Raises:
      ImportError: `tensorboard` is true and tensorboardX is not installed.
      ValueError: a line of a file is no row, or does not follow the one before, when the file is
        first used; names the line.
    """

    def __init__(
        self,
        directory: str | pathlib.Path,
        *,
        resume_step: int = 0,
        tensorboard: bool = True,
        write: bool = True,
    ):
        self._directory = local_path(directory)
        self._write = write
        self._directory.mkdir(parents=True, exist_ok=True)
        self._resume_step = resume_step
        self._rows: dict[str, Rows] = {}
        self._writer = None
        if tensorboard and write:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise ImportError(
                    "TensorBoard logs need tensorboardX: pip install "
                    "'jaxkd-distill[experiments]', or pass tensorboard=False"
                ) from error
            self._writer = SummaryWriter(str(self._directory), purge_step=resume_step + 1)

    def write(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one row to `<name>.csv`.

        Args:
          name: name of the file and prefix in TensorBoard, `"train"` or `"eval"`.
          step: the training step.
          metrics: metric → number; the same names in each row of a file.

        Raises:
          ValueError: other names than in the file's first row.
        """
        row = {"step": step, **{k: v if k in _INTEGERS else float(v) for k, v in metrics.items()}}
        rows = self._rows_of(name)
        if rows and list(rows[0]) != list(row):
            raise ValueError(
                f"{name}.csv has the columns {list(rows[0])}, not {list(row)}: return the same "
                "metrics as before, or choose another workdir; rows of one file have one form"
            )
        if self._write:
            self._append(self._directory / f"{name}.csv", row, header=not rows)
        rows.append(row)
        if self._writer:
            member = f"/{row['member']}" if "member" in row else ""
            for key, value in row.items():
                # An accuracy without labels is nan, of which the writer would warn.
                if key not in _INTEGERS and not math.isnan(value):
                    self._writer.add_scalar(f"{name}/{key}{member}", value, step)

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

    def rows(self, name: str) -> Rows:
        """Returns all rows of a file so far, those before a resume included.

        Args:
          name: name of the file without its suffix.

        Returns:
          One dictionary a row.
        """
        return list(self._rows_of(name))

    def restore(self, name: str, rows: Rows) -> None:
        """Gives a file the rows that a checkpoint holds; warns if it did not have them.

        Args:
          name: name of the file without its suffix.
          rows: all rows up to the step that training resumes at.
        """
        self._rows[name] = list(rows)
        if not self._write:
            return
        file = self._directory / f"{name}.csv"
        try:
            fault = _difference(file, _read_until(file, self._resume_step), rows)
        except ValueError as error:
            fault = str(error)
        if fault:
            warnings.warn(
                f"{fault}; its {len(rows)} rows are restored from the checkpoint", stacklevel=2
            )
        self._rewrite(name)

    def _rows_of(self, name: str) -> Rows:
        """Returns the rows of a file, which is read before its first row is written."""
        if name not in self._rows:
            file = self._directory / f"{name}.csv"
            self._rows[name] = _read_until(file, self._resume_step)
            if self._write:
                self._rewrite(name)
        return self._rows[name]

    def _rewrite(self, name: str) -> None:
        """Drops from a file what is not among its rows: of later steps, or incomplete."""
        file, rows = self._directory / f"{name}.csv", self._rows[name]
        if not rows:
            file.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(file, text.getvalue())

    def flush(self) -> None:
        """Writes TensorBoard's rows to disk; those of the CSV files are there already."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer:
            self._writer.close()


def _read_until(file: pathlib.Path, step: int) -> Rows:
    """Reads the complete rows of a CSV file up to a step; names a line that cannot be one."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    complete = [line for line in lines if line.endswith("\n")]
    rows: Rows = []
    header = next(csv.reader(complete[:1]), [])
    last: tuple[float, float] = (-1, -1)
    for number, cells in enumerate(csv.reader(complete[1:]), start=2):
        try:
            pairs = list(zip(header, cells, strict=True))
            row = {k: int(v) if k in _INTEGERS else float(v) for k, v in pairs}
            here = (row["step"], row.get("member", 0))
        except (ValueError, KeyError):
            raise ValueError(_spoiled(file, number, f"is no row of {header}: {cells}")) from None
        if here <= last:
            after = f"is of step {here[0]} after one of step {last[0]}"
            raise ValueError(_spoiled(file, number, after))
        last = here
        if row["step"] <= step:
            rows.append(row)
    return rows


def _spoiled(file: pathlib.Path, number: int, what: str) -> str:
    return (
        f"line {number} of {file} {what}. Two runs, or something else, wrote to it: remove the "
        "lines that are not of this run, or delete the file, which loses its rows"
    )


def _difference(file: pathlib.Path, found: Rows, rows: Rows) -> str:
    """Says in which line a file differs from the rows that it should have; empty if in none."""
    # Text, since nan is not nan.
    one, other = ([str(sorted(row.items())) for row in side] for side in (found, rows))
    for number, (a, b) in enumerate(itertools.zip_longest(one, other), start=2):
        if a != b:
            return (
                f"line {number} of {file} is not what was written"
                if a and b
                else f"{file} has {len(found)} rows up to the checkpoint, not {len(rows)}"
            )
    return ""
