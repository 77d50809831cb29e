"""A work directory: it can be written to, and belongs to one configuration."""

import json
import os
import pathlib
import socket
from collections.abc import Mapping
from typing import Any


def bind_config(workdir: str | pathlib.Path, config: Mapping[str, Any]) -> pathlib.Path:
    """Makes a work directory and binds it to a configuration, or checks that it is bound to it.

    Args:
      workdir: the directory, made if missing.
      config: nested plain data (numbers, strings, lists, dictionaries).

    Returns:
      The directory.

    Raises:
      OSError: the directory cannot be written to.
      ValueError: the directory was made with another configuration; the message names each field
        with both values.

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
        write_atomically(file, text + "\n")
    # Read back even if it was written just now: the processes of a job write one and the same.
    there, now = _flat(json.loads(file.read_text())), _flat(json.loads(text))
    if there != now:
        differing = [
            f"{name}: {there.get(name, 'nothing')} there, {now.get(name, 'nothing')} now"
            for name in sorted({*there, *now})
            if there.get(name, "nothing") != now.get(name, "nothing")
        ]
        raise ValueError(
            f"the work directory {workdir} belongs to another configuration ("
            + "; ".join(differing)
            + "): choose another workdir, or delete this one"
        )
    return workdir


def writeable(workdir: str | pathlib.Path) -> pathlib.Path:
    """Makes a directory, or tells that nothing can be written there.

    Raises:
      OSError: of the kind that the file system gave, with what to do.
    """
    workdir = pathlib.Path(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe.{socket.gethostname()}.{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise type(error)(
            error.errno,
            f"the work directory {workdir} cannot be written to ({error.strerror}): make room, or "
            "choose another workdir",
        ) from error
    return workdir


def write_atomically(file: pathlib.Path, text: str) -> None:
    """Writes a file so that a reader or a crash sees the old content or the new, never a part."""
    temporary = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")
    with open(temporary, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    items: dict[str, Any] = {}
    for name, value in tree.items():
        items |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return items
