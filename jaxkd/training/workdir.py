"""Work directories: writeable, and each bound to one configuration."""

from __future__ import annotations

import json
import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from jaxkd._files import local_path, parse_json, writing
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


def write_atomically(file: pathlib.Path, contents: str | bytes) -> None:
    """Replaces a file's content, so that after a crash it is the old one or the new one.

    Args:
      file: path of the file, in a directory that is there.
      contents: bytes, or text to write as UTF-8.
    """
    temporary = _beside(file)
    try:
        with writing(file):
            _write_through(temporary, contents)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def create(file: pathlib.Path, contents: str | bytes) -> bool:
    """Creates a file with its whole content, unless there is one of its name already.

    Args:
      file: path of the file, in a directory that is there.
      contents: bytes, or text to write as UTF-8.

    Returns:
      Whether it was created; of several processes that try at once, one succeeds.
    """
    temporary = _beside(file)
    try:
        with writing(file):
            _write_through(temporary, contents)
        try:
            os.link(temporary, file)
        except FileExistsError:
            # A file system of the network may report this of its own repeated request.
            return temporary.stat().st_nlink > 1
        except OSError:  # a file system without links
            try:
                with open(file, "xb") as stream:
                    stream.write(temporary.read_bytes())
            except FileExistsError:
                return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _beside(file: pathlib.Path) -> pathlib.Path:
    """Returns a temporary name that no other thread, process or host has."""
    return file.with_name(f".{file.name}.{uuid.uuid4().hex}")


def _write_through(file: pathlib.Path, contents: str | bytes) -> None:
    with open(file, "wb") as stream:
        stream.write(contents if isinstance(contents, bytes) else contents.encode())
        stream.flush()
        os.fsync(stream.fileno())


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dictionaries; the keys become `"student.width"`."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    items: dict[str, Any] = {}
    for name, value in tree.items():
        items |= _flatten(value, f"{prefix}.{name}" if prefix else name)
    return items
