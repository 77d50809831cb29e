"""Rows of metrics as lines of a CSV file: read, compared and written whole."""

from __future__ import annotations

import csv
import io
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

from jaxkd._files import write_atomically

# One dictionary a row: column → number.
Rows = list[dict[str, Any]]
# Columns of integers.
INTEGERS = ("step", "member")


def read_until(file: pathlib.Path, step: int) -> Rows:
    """Reads the complete rows of a CSV file up to a step; names a line that cannot be one."""
    try:
        # As it is: the names of metrics, which are quoted, may have line breaks of any kind.
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return []
    lines = _numbered(file, text[: text.rfind("\n") + 1])
    rows: Rows = []
    _, header = next(lines, (1, []))
    last: tuple[float, float] = (-1, -1)
    for number, cells in lines:
        try:
            pairs = list(zip(header, cells, strict=True))
            row = {k: int(v) if k in INTEGERS else float(v) for k, v in pairs}
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


def _numbered(file: pathlib.Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the cells of each row, and the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(_spoiled(file, reader.line_num, f"is no row: {error}")) from None


def _spoiled(file: pathlib.Path, number: int, what: str) -> str:
    return (
        f"line {number} of {file} {what}. Two runs, or something else, wrote to it: remove the "
        "lines that are not of this run, or delete the file, which loses its rows"
    )


def difference(file: pathlib.Path, found: Rows, rows: Rows) -> str:
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


def write_whole(file: pathlib.Path, rows: Rows) -> None:
    """Writes a file of nothing but some rows; removes it where there are none."""
    if not rows:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue())
