"""Tables by column: CSV and Parquet files, data frames of any library, dictionaries."""

import csv
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxkd._files import local_path


def read_columns(table: Any, wanted: list[str]) -> dict[str, list[Any]]:
    """Reads some columns of a table.

    Args:
      table: path of a file `.csv`, `.tsv` or `.parquet`; a data frame (pandas, Polars), a PyArrow
        table, or a mapping from names to columns.
      wanted: names of the columns.

    Returns:
      Name → values; of a text file numbers where all values of the column are numbers, and None
      where there is nothing.

    Raises:
      TypeError: something else.
      ValueError: a column that is not there, or of another length than the others.
    """
    if isinstance(table, str | os.PathLike):
        path = local_path(table)
        found = _parquet(path, wanted) if path.suffix.lower() == ".parquet" else _text(path)
        where = str(path)
    else:
        found, where = _in_memory(table), f"the {type(table).__name__}"
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"{where} has no column {missing[0]!r}, it has {sorted(map(str, found))}")
    columns = {name: _plain(found[name]) for name in wanted}
    if len({len(values) for values in columns.values()}) > 1:
        lengths = {name: len(values) for name, values in columns.items()}
        raise ValueError(f"the columns of {where} are not of one length: {lengths}")
    return columns


def _text(path: pathlib.Path) -> dict[str, list[Any]]:
    # A spreadsheet writes a mark of the order of bytes in front of UTF-8.
    with open(path, encoding="utf-8-sig", newline="") as file:
        sample = file.read(1 << 16)
        file.seek(0)
        lines = sample.splitlines()
        # That which the line of names has: paths and names of classes may hold any of them.
        mark = max(",;\t", key=lines[0].count) if lines else ","
        rows = csv.reader(file, delimiter=mark)
        names = next(rows, [])
        columns: list[list[Any]] = [[] for _ in names]
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise ValueError(
                    f"line {rows.line_num} of {path} has {len(row)} values, and {len(names)} "
                    f"columns have names: {', '.join(names)}"
                )
            for column, value in zip(columns, row, strict=True):
                column.append(value.strip() or None)
    return {name.strip(): _parsed(column) for name, column in zip(names, columns, strict=True)}


def _parsed(column: list[Any]) -> list[Any]:
    """A column of texts as numbers, if all of them are."""
    for kind in (int, float):
        try:
            return [None if value is None else kind(value) for value in column]
        except ValueError:
            continue
    return column


def _parquet(path: pathlib.Path, wanted: list[str]) -> Mapping[str, Any]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError(
            f"{path} is read by PyArrow, which is not installed: "
            'pip install "jaxkd-distill[tables]"'
        ) from error
    names = parquet.read_schema(path).names
    if not set(wanted) <= set(names):
        return dict.fromkeys(names)
    return _in_memory(parquet.read_table(path, columns=wanted))


def _in_memory(table: Any) -> Mapping[str, Any]:
    if isinstance(table, Mapping):
        return table
    if hasattr(table, "column_names"):  # PyArrow
        return {name: table[name] for name in table.column_names}
    if hasattr(table, "columns"):
        return {name: table[name] for name in table.columns}
    raise TypeError(
        "a table is the path of a .csv or .parquet file, a data frame, or a dictionary of columns, "
        f"not {type(table).__name__}: {table!r:.80}"
    )


def _plain(column: Any) -> list[Any]:
    for method in ("to_pylist", "tolist", "to_list"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)
