"""What the parts measure, as files: a JSON and a Markdown table for each part, and a summary.

Nothing here imports JAX, since the process that starts the others must not take a device.
"""

import dataclasses
import importlib.metadata
import json
import math
import pathlib
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Goal:
    """A number and the bound that it should meet.

    Attributes:
      what: what the number is.
      value: the number.
      bound: the largest one wanted, or the smallest.
      at_least: whether it is the smallest.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the number is within the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def wanted(self) -> str:
        """The bound with its sign."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a part's table.

    Attributes:
      case: what was measured.
      numbers: by heading, which names the unit.
      goals: what is wanted of them.
      note: what a reader must know, for instance that a package is not installed.
      failed: whether an error prevented the measurement; the note is its message.
    """

    case: str
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    note: str = ""
    failed: bool = False


def attempted(case: str, measure: Callable[[], Row]) -> Row:
    """The row of a measurement, or one with the error, so that the cases after it still run."""
    try:
        return measure()
    except Exception as error:  # whatever the libraries raise, out of memory above all
        traceback.print_exc()
        return Row(case, note=_line(error), failed=True)


def not_installed(case: str, package: str) -> Row | None:
    """The row for an optional package that is missing; None where it is installed."""
    return Row(case, note=f"{package}: not installed") if version(package) is None else None


def version(package: str) -> str | None:
    """The version of an installed distribution; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Device, driver and versions; starts JAX's backend."""
    import jax

    packages = ("jax", "jaxlib", "flax", "optax", "torch", "triton", "liger-kernel")
    return {
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "driver": _driver(),
        "python": sys.version.split()[0],
        **{name: version(name) or "not installed" for name in packages},
    }


def record(
    out: pathlib.Path,
    name: str,
    title: str,
    measure: Callable[[], Any],
    about: dict[str, Any],
) -> None:
    """Runs a part and writes its files after every row.

    Args:
      out: the folder.
      name: of the part and its files.
      title: of its table.
      measure: returns an iterator over rows.
      about: device, versions and sizes.
    """
    part: dict[str, Any] = {"part": name, "title": title, "rows": [], "error": None, "done": False}
    part["about"] = about
    write(out, part)
    try:
        for row in measure():
            part["rows"].append(_as_json(row))
            write(out, part)
    except Exception as error:
        traceback.print_exc()
        part["error"] = _line(error)
    part["done"] = True
    write(out, part)


def interrupted(out: pathlib.Path, name: str, title: str, why: str) -> None:
    """Writes into a part's files why its process ended before it was done; the rows stay."""
    path = out / f"{name}.json"
    part = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not part.get("done"):
        new = {"part": name, "title": title, "rows": [], "about": {}, "done": False}
        write(out, {**new, **part, "error": why})


def write(out: pathlib.Path, part: dict[str, Any]) -> None:
    """Writes the files of a part."""
    text = json.dumps(part, indent=1, ensure_ascii=False, allow_nan=False)
    _replace(out / f"{part['part']}.json", text)
    _replace(out / f"{part['part']}.md", f"# {part['title']}\n\n{_table(part)}")


def summarize(out: pathlib.Path, names: list[str]) -> bool:
    """Writes `summary.json` and `summary.md` of all parts that have files.

    Args:
      out: the folder.
      names: of the parts, in order.

    Returns:
      Whether all parts that have files ran without an error, whether or not goals are met.
    """
    paths = [path for path in (out / f"{name}.json" for name in names) if path.exists()]
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    goals = [
        {"part": part["part"], "case": row["case"], **goal}
        for part in parts
        for row in part["rows"]
        for goal in row["goals"]
    ]
    troubles = [
        {"part": part["part"], "what": what}
        for part in parts
        for what in (
            [f"{row['case']}: {row['note']}" for row in part["rows"] if row["note"]]
            + ([f"ended early: {part['error']}"] if part["error"] else [])
        )
    ]
    about: dict[str, Any] = next((part["about"] for part in parts if part["about"]), {})
    summary = {"about": about, "goals": goals, "notes": troubles}
    _replace(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
    lines = ["# One GPU", "", _caption(about), ""]
    lines += _markdown(
        ["Part", "Case", "What", "Value", "Goal", "Met"],
        [
            [g["part"], g["case"], g["what"], f"{g['value']:.3f}", g["wanted"], _yes(g["met"])]
            for g in goals
        ],
    )
    if troubles:
        lines += ["", *(f"- {trouble['part']}: {trouble['what']}" for trouble in troubles)]
    tables = [f"## {part['title']}\n\n{_table(part)}" for part in parts]
    _replace(out / "summary.md", "\n".join(lines) + "\n\n" + "\n".join(tables))
    return not any(p["error"] or any(row["failed"] for row in p["rows"]) for p in parts)


def _as_json(row: Row) -> dict[str, Any]:
    if bad := [name for name, value in row.numbers.items() if not math.isfinite(value)]:
        raise ValueError(f"{row.case}: {bad} are not finite")
    goals = [
        {"what": g.what, "value": g.value, "wanted": g.wanted, "met": bool(g.met)}
        for g in row.goals
    ]
    return {**dataclasses.asdict(row), "goals": goals}


def _table(part: dict[str, Any]) -> str:
    headings = list(dict.fromkeys(name for row in part["rows"] for name in row["numbers"]))
    rows = []
    for row in part["rows"]:
        numbers = [_shown(row["numbers"][h]) if h in row["numbers"] else "" for h in headings]
        goals = [f"{g['what']} {g['wanted']}: {_yes(g['met'])}" for g in row["goals"]]
        rows.append([row["case"], *numbers, "; ".join(goals), row["note"]])
    lines = _markdown(["Case", *headings, "Goal", "Note"], rows)
    if part["error"]:
        lines += ["", f"Ended early: {part['error']}"]
    return "\n".join([*lines, "", _caption(part["about"])]) + "\n"


def _markdown(headings: list[str], rows: list[list[str]]) -> list[str]:
    cells = [[str(cell).replace("|", r"\|") for cell in row] for row in (headings, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + " :-- |" * len(headings), *lines[1:]]


def _caption(about: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items()) + "."


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _yes(met: bool) -> str:
    return "yes" if met else "NO"


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return run.stdout.strip().splitlines()[0]


def _replace(path: pathlib.Path, text: str) -> None:
    """Writes a file under another name first, so that a kill leaves the old one or the new one."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
