"""Counts of the outcomes of a part, and the tables."""

import collections
import pathlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from rich.progress import track

from benchmarks.contract_attacks_parts import attempts
from benchmarks.contract_attacks_parts.attempts import Attack, Folder
from jaxkd.study import Table


def of_attacks(
    attacks: Sequence[Attack], folder: pathlib.Path, *, wanted: str, seed: int, first: int | None
) -> dict[str, Any]:
    """Tries attacks and counts by kind: cases, attempts and those that ended as wanted."""
    attacks = list(shortened(attacks, first))
    random.Random(seed).shuffle(attacks)
    place = Folder(folder)
    rows: dict[str, dict[str, int]] = collections.OrderedDict()
    wrong = []
    for attack in sorted(attacks, key=lambda attack: attack.kind):
        rows.setdefault(attack.kind, {"cases": 0, "attempts": 0, "right": 0, "whole": 0})
    for attack in track(attacks, f"{wanted}?", transient=True):
        found = list(attempts.tried(attack, place))
        row = rows[attack.kind]
        row["cases"] += 1
        row["attempts"] += len(found)
        row["right"] += sum(outcome.outcome == wanted for outcome in found)
        row["whole"] += all(outcome.outcome == wanted for outcome in found)
        for outcome in found:
            if outcome.outcome != wanted:
                wrong.append(
                    f"{outcome.outcome}: {outcome.kind} / {outcome.name} / {outcome.entrance} "
                    f"{outcome.text[:300]}"
                )
    return {"rows": rows, "wrong": wrong, "wanted": wanted}


def shortened(attacks: Iterable[Attack], first: int | None) -> Iterator[Attack]:
    """Yields the first attacks of each kind."""
    count: collections.Counter[str] = collections.Counter()
    for attack in attacks:
        count[attack.kind] += 1
        if first is None or count[attack.kind] <= first:
            yield attack


def write(
    reports: Mapping[str, Any], before: Mapping[str, Any], titles: Mapping[str, str], out: Any
) -> None:
    """Prints and writes the tables of all parts, and prints what was wrong."""
    sections = ["# Attacks on the contract of caches and runs\n"]
    for name, report in reports.items():
        table = _table(f"{name}. {titles[name]}", report, before.get(name))
        table.print()
        sections.append(f"## {table.title}\n\n{table.to_markdown()}\n\n{table.caption}\n")
        for line in report["wrong"]:
            print("WRONG", name, line)
    sections.append(
        f"`python benchmarks/contract_attacks.py`, jax {jax.__version__}. Before: the library "
        "as it was before format 3, through the same attacks.\n"
    )
    pathlib.Path(out, "contract_attacks.md").write_text("\n".join(sections), encoding="utf-8")


def _table(title: str, report: Mapping[str, Any], before: Mapping[str, Any] | None) -> Table:
    caption = report.get("caption", "") + f" {report['seconds']:.0f} s."
    if "table" in report:
        earlier = None if before is None else before.get("table")
        return Table(title, *_joined(report["table"], earlier), caption.strip())
    verb = {"refused": "Refused by name", "accepted": "Accepted"}[report["wanted"]]
    columns = ["Kind", "Cases", f"{verb} everywhere", "Attempts", verb]
    rows = [
        [kind, row["cases"], row["whole"], row["attempts"], row["right"]]
        for kind, row in report["rows"].items()
    ]
    if before is not None:
        columns.append("Cases before")
        for row in rows:
            row.append(before["rows"].get(row[0], {}).get("whole", 0))
    total = [sum(row[i] for row in rows) for i in range(1, len(columns))]
    return Table(title, columns, [*rows, ["All", *total]], caption.strip())


def _joined(table: Mapping[str, Any], before: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """Columns and rows, with those of before in a column more."""
    columns, rows = list(table["columns"]), [list(row) for row in table["rows"]]
    if before is None:
        return columns, rows
    counted = table["compared"]
    position = columns.index(counted)
    earlier = {row[0]: row[position] for row in before["rows"]}
    return [*columns, f"{counted}, before"], [[*row, earlier.get(row[0], "–")] for row in rows]
