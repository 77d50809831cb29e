"""How a report was made: command, date, versions, machine, commit and configuration."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax

import jaxkd
from jaxkd._files import read_json
from jaxkd.study.tables import Table

if TYPE_CHECKING:
    from jaxkd.study.report import Section
    from jaxkd.study.results import StudyResults

TITLE = "How this was made"
_PACKAGES = ("jax", "flax", "optax", "numpy")
_LONGEST = 600


def provenance(
    configuration: Mapping[str, object] | None = None,
    seconds: float | None = None,
    made: Mapping[str, str] | None = None,
) -> Section:
    """Makes the last section of a report: what is needed to make it again.

    Args:
      configuration: name → value of what was chosen.
      seconds: duration of all trainings; nan where one was interrupted and resumed.
      made: what `run_facts` returned then; by default now.

    Returns:
      The section, with one table.
    """
    from jaxkd.study.report import Section

    rows = [list(item) for item in (run_facts() if made is None else made).items()]
    if seconds is not None:
        rows.append(["Training", duration(seconds)])
    rows += [[name, _cut(str(value))] for name, value in (configuration or {}).items()]
    return Section(TITLE, tables=[Table("Run", ["What", "Value"], rows)])


def provenance_of(
    results: StudyResults, seconds: float, configuration: Mapping[str, object]
) -> Section:
    """Makes the last section of the report of a study: how it was first made.

    Args:
      results: results of the study, whose folder says how.
      seconds: as of `provenance`.
      configuration: as of `provenance`.

    Returns:
      The section, with one table.
    """
    file = results.workdir / "made.json"
    made = read_json(file)["facts"] if file.exists() else None
    return provenance(configuration, seconds, made)


def run_facts() -> dict[str, str]:
    """Returns command, date, versions, machine and commit of the program that runs."""
    return {
        "Command": _command(),
        "Date": _now(),
        "Versions": _versions(),
        "Machine": _machine(),
        "Git commit": _commit(),
    }


def duration(seconds: float) -> str:
    """Returns a duration in the units of people."""
    if math.isnan(seconds):
        return "not known, since a training was interrupted and resumed"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _command() -> str:
    words = list(sys.orig_argv)
    # Where the interpreter is says nothing to others, nor where pip put a command beside it.
    if words[1:] and pathlib.PurePath(words[1]).parent == pathlib.PurePath(sys.executable).parent:
        words = words[1:]
    return _cut(shlex.join([pathlib.PurePath(words[0]).name, *words[1:]])) if words else "unknown"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _versions() -> str:
    names = [f"jaxkd {jaxkd.__version__}", f"Python {platform.python_version()}"]
    return ", ".join(names + [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES])


def _machine() -> str:
    devices = jax.devices()
    kinds = sorted({device.device_kind for device in devices})
    text = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processor cores"
    return f"{text}; {len(devices)} × {', '.join(kinds)}"


def _commit() -> str:
    """The commit of the folder in which the program runs, and whether files differ from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "none: the program did not run in a git repository"
    return f"{commit}, with changes that are not committed" if changed else commit


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], capture_output=True, encoding="utf-8", check=True, timeout=10
    )
    return done.stdout.strip()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
