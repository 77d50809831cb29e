"""Work directories: writeable, and each bound to one configuration."""

from __future__ import annotations

import json
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from jaxkd._files import create, local_path, parse_json
from jaxkd.training._arrays import differences


def bind_config(workdir: str | pathlib.Path, config: Mapping[str, Any]) -> pathlib.Path:
    """Binds a work directory to a configuration, or checks that it is bound to that one.

    Args:
      workdir: the directory, created if missing.
      config: nested plain data (numbers, strings, lists, dictionaries).

    Returns:
      The directory.

    Raises:
      OSError: the directory cannot be written to.
      ValueError: the directory is bound to another configuration, each field of which is named with
        both values, or its file is damaged.

    Example:
      >>> import tempfile
      >>> directory = tempfile.mkdtemp()
      >>> _ = bind_config(directory, {"student": {"width": 32}})
      >>> bind_config(directory, {"student": {"width": 64}})
      Traceback (most recent call last):
        ...
      ValueError: the work directory ... (student.width: 32 there, 64 now): choose ...
    """
    workdir = writeable(workdir)
    file = workdir / "config.json"
    text = json.dumps(config, indent=2, sort_keys=True)
    if not file.exists():
        create(file, text + "\n")
    # Read even if it was created just now: another process may have been first.
    try:
        bound = parse_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{file} is damaged, it is no JSON ({error}): restore it from a copy, choose another "
            "workdir, or delete this one"
        ) from error
    there, now = _flatten(bound), _flatten(json.loads(text))
    if differing := differences(there, now, "there", "now", limit=None):
        raise ValueError(
            f"the work directory {workdir} belongs to another configuration ({differing}): choose "
            "another workdir, or delete this one"
        )
    return workdir


def writeable(workdir: str | pathlib.Path) -> pathlib.Path:
    """Creates a directory, and refuses one that nothing can be written to.

    Args:
      workdir: the directory, created if missing.

    Returns:
      The directory.

    Raises:
      OSError: the error of the file system, with the remedy.
    """
    workdir = local_path(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe.{uuid.uuid4().hex}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise type(error)(
            error.errno,
            f"the work directory {workdir} cannot be written to ({error.strerror}): make room, or "
            "choose another workdir",
        ) from error
    return workdir


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dictionaries; the keys become `"student.width"`."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    items: dict[str, Any] = {}
    for name, value in tree.items():
        items |= _flatten(value, f"{prefix}.{name}" if prefix else name)
    return items
