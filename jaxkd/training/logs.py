"""Metrics on disk: CSV files that survive a kill, and TensorBoard's event files."""

from __future__ import annotations

import csv
import io
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxkd._files import local_path
from jaxkd.training.workdir import write_atomically

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
        self._rows: dict[str, list[dict[str, Any]]] = {}
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
            raise ValueError(f"{name}.csv has the columns {list(rows[0])}, not {list(row)}")
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

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Returns all rows of a file so far, those before a resume included.

        Args:
          name: name of the file without its suffix.

        Returns:
          One dictionary a row.
        """
        return list(self._rows_of(name))

    def _rows_of(self, name: str) -> list[dict[str, Any]]:
        """Returns the rows of a file, which is read before its first row is written."""
        if name not in self._rows:
            self._rows[name] = _read_until(
                self._directory / f"{name}.csv", self._resume_step, rewrite=self._write
            )
        return self._rows[name]

    def flush(self) -> None:
        """Writes TensorBoard's rows to disk; those of the CSV files are there already."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer:
            self._writer.close()


def _read_until(file: pathlib.Path, step: int, *, rewrite: bool) -> list[dict[str, Any]]:
    """Reads the complete rows of a CSV file up to a step; `rewrite` drops the others from it."""
    try:
        header, *lines = file.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    except FileNotFoundError:  # maybe since a moment ago: another process may drop it
        return []
    complete = [line for line in lines if line.endswith("\n")]
    rows: list[dict[str, Any]] = []
    for row in csv.DictReader(io.StringIO(header + "".join(complete))):
        if int(row["step"]) <= step:
            rows.append({k: int(v) if k in _INTEGERS else float(v) for k, v in row.items()})
    if not rewrite:
        return rows
    if not rows:
        file.unlink()
        return rows
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue())
    return rows
