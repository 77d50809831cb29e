"""The owner of a work directory: one process writes at a time, and a dead one's successor may."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from jaxkd._files import create, local_path, parse_json, write_atomically
from jaxkd.training.distributed import all_processes, is_main_process
from jaxkd.training.workdir import writeable

# Seconds between two signs of life of an owner, and without one before another host may take over.
HEARTBEAT, STALE = 10.0, 60.0

_PATTERN = re.compile(r"\.owner\.(\d+)\.json")


class WorkdirOwner:
    """What holds a work directory; see `own_workdir`.

    Owners are numbered: the one of the highest number holds the directory. A successor creates the
    file of the next number, which one process alone can do, and nobody ever deletes or replaces
    the file of an owner that may be alive. A library's soft lock (filelock's) is a file of one
    name, which two successors of a dead owner can both delete, and it has no sign of life by which
    other hosts know that a process is dead; locks of the kernel are not those of other hosts on
    many shared file systems.

    Args:
      workdir: the directory.
      file: the file of this owner.
    """

    def __init__(self, workdir: pathlib.Path, file: pathlib.Path):
        self._workdir, self._file, self._process = workdir, file, os.getpid()
        self._over = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def check(self) -> None:
        """Refuses to go on where another process has taken over, or the directory is gone.

        Raises:
          RuntimeError: it did, and names it; or the directory was deleted or moved.
        """
        if self._process != os.getpid():
            raise RuntimeError(
                f"the work directory {self._workdir} belongs to process {self._process}, which "
                "this one was forked from: call fit in one of them, or choose another workdir"
            )
        try:
            files = _files(self._workdir)
        except FileNotFoundError:
            raise RuntimeError(
                f"the work directory {self._workdir} was deleted or moved while this process wrote "
                "to it: leave it where it is, and start the same command again"
            ) from None
        if files and files[max(files)] == self._file:
            return
        other = _read(files[max(files)]) if files else None
        raise RuntimeError(
            f"the work directory {self._workdir} does not belong to this process any more: "
            + (f"{_in_words(other)} took it over" if other else f"{self._file.name} was deleted")
            + ". This process writes nothing more there; its last checkpoint is what the other "
            "one goes on from"
        )

    def release(self) -> None:
        """Gives the directory back."""
        self._over.set()
        try:
            self.check()
            document = _read(self._file) or {}
            write_atomically(self._file, json.dumps({**document, "released": True}))
        except OSError:  # a full disk still lets go of a file
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
        except RuntimeError:  # it is another's already
            pass

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(self._file)


@contextlib.contextmanager
def own_workdir(workdir: str | pathlib.Path) -> Iterator[WorkdirOwner | None]:
    """Holds a work directory, so that no second run writes to it.

    `fit` does so for its own `workdir`; a program that runs several trainings below one directory
    does so for all of them. Within it the same thread may hold the directory once more.

    An owner that is dead is replaced: on its own host as soon as its process is gone, on another
    host when it has given no sign of life for a minute, by the clock of the file system. In a job
    of several processes the main one owns the directory, and all call this together.

    Args:
      workdir: the directory, created if missing.

    Yields:
      The owner, whose `check` refuses to go on after another process has taken over; None in
      processes other than the main one.

    Raises:
      OSError: the directory cannot be written to.
      RuntimeError: another process or thread holds it; says which, where, since when, and what to
        do.

    Example:
      >>> import tempfile
      >>> directory = tempfile.mkdtemp()
      >>> with own_workdir(directory) as owner:
      ...     owner.check()
    """
    workdir = local_path(workdir)
    held: dict[str, WorkdirOwner | None] = _of_thread.__dict__
    # A process that is forked has a copy of what this one holds, and holds none of it.
    key = f"{os.getpid()} {workdir.resolve()}"
    if key in held:
        yield held[key]
        return
    owner, error = None, None
    if is_main_process():
        try:
            workdir = writeable(workdir)
            owner = WorkdirOwner(workdir, _take(workdir))
        except (OSError, RuntimeError) as refusal:
            error = refusal
    if not all_processes(error is None):
        raise error or RuntimeError(
            f"the main process of the job could not take the work directory {workdir}: see its "
            "error"
        )
    held[key] = owner
    try:
        yield owner
    finally:
        del held[key]
        if owner is not None:
            owner.release()


# What this thread holds: process and path → owner.
_of_thread = threading.local()


def _take(workdir: pathlib.Path) -> pathlib.Path:
    """Creates the file of the next owner, unless the present one is alive."""
    while True:
        files = _files(workdir)
        newest = max(files, default=0)
        if newest and _is_alive(workdir, files[newest]):
            raise RuntimeError(_refusal(workdir, files[newest]))
        mine = workdir / f".owner.{newest + 1}.json"
        if not create(mine, json.dumps(_Process.own().document() | _named(workdir))):
            continue
        # A slow process may create the file of a number that was given back and deleted since.
        if max(_files(workdir), default=0) != newest + 1:
            mine.unlink(missing_ok=True)
            continue
        for file in files.values():
            file.unlink(missing_ok=True)
        return mine


def _files(workdir: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the files of all owners by their numbers."""
    found = {}
    for name in os.listdir(workdir):
        if match := _PATTERN.fullmatch(name):
            found[int(match[1])] = workdir / name
    return found


def _read(file: pathlib.Path) -> dict[str, Any] | None:
    """Reads the file of an owner; None if it is gone, or cut short."""
    try:
        document = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _is_alive(workdir: pathlib.Path, file: pathlib.Path) -> bool:
    document = _read(file)
    if document is not None:
        if document.get("released"):
            return False
        other, own = _Process.from_document(document), _Process.own()
        if other.place == own.place:
            if document.get("directory", here := _named(workdir)["directory"]) != here:
                return False  # A copy of a directory that its owner holds elsewhere.
            return _started(other.number) == other.started
    age = _age(workdir, file)
    return age is not None and age < STALE


def _named(workdir: pathlib.Path) -> dict[str, int]:
    """Names a directory as its file system does: a copy has another number."""
    return {"directory": workdir.stat().st_ino}


def _age(workdir: pathlib.Path, file: pathlib.Path) -> float | None:
    """Seconds since an owner's sign of life by the file system's clock; None if it is gone."""
    clock = workdir / f".clock.{uuid.uuid4().hex}"
    try:
        clock.touch()
        return clock.stat().st_mtime - file.stat().st_mtime
    except FileNotFoundError:
        return None
    finally:
        clock.unlink(missing_ok=True)


def _refusal(workdir: pathlib.Path, file: pathlib.Path) -> str:
    document = _read(file)
    age = _age(workdir, file)
    sign = "" if age is None else f", with a sign of life {max(0, age):.0f} s ago"
    return (
        f"the work directory {workdir} is in use by {_in_words(document)}{sign}: wait until it is "
        "over, end it, or choose another workdir. If it is dead, it is replaced at once on its own "
        f"host, and {STALE:.0f} s after its last sign of life on another one; deleting {file} "
        "replaces it in any case"
    )


def _in_words(document: dict[str, Any] | None) -> str:
    if document is None:
        return "another process"
    return (
        f"process {document.get('process')} (thread {document.get('thread')}) on "
        f"{document.get('host')}, since {document.get('since')}"
    )


@dataclasses.dataclass(frozen=True)
class _Process:
    """A process, as another one can recognize it.

    Attributes:
      host: name of its host.
      place: what its number belongs to: the boot of the host, and the processes' name space.
      number: its number.
      started: when it started, in the kernel's units; None where that is unknown.
    """

    host: str
    place: str
    number: int
    started: int | None

    @classmethod
    def own(cls) -> _Process:
        number = os.getpid()
        return cls(socket.gethostname(), _place(), number, _started(number))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> _Process:
        host, place = str(document.get("host")), str(document.get("place"))
        number = document.get("process")
        return cls(host, place, number if isinstance(number, int) else 0, document.get("started"))

    def document(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "place": self.place,
            "process": self.number,
            "started": self.started,
            "thread": threading.current_thread().name,
            "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }


def _place() -> str:
    """Names the host's boot and this process's name space: a number means nothing elsewhere."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(
            pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        )
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(number: int) -> int | None:
    """Returns when a process started: 0 where that is unknown, None if there is no such one."""
    try:
        text = pathlib.Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
        # The name, in parentheses, may hold anything.
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        pass
    if os.path.exists("/proc/self/stat"):
        return None
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0
    return 0
