"""Which files decode, and the digest of each: found out once, and kept in an index if wanted.

An index remembers of each file its id, the digest of its content, and why it cannot be decoded. It
is believed as long as size, time of modification and time of the last change of status are what
they were: the last one moves with every write and cannot be set. A file that changed less than two
seconds before it was read is read again, since a later change might bear the same time.
"""

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxkd._files import read_json, write_atomically
from jaxkd.data import _decoding
from jaxkd.data._digests import content_digests
from jaxkd.data._image_files import ImageFiles
from jaxkd.data._read_contents import HEADER, map_threads

_FORMAT = "jaxkd.image-index 1"
_SETTLED = 2 * 10**9  # nanoseconds: no file system tells times apart by more
_BLOCK = 512  # files that are begun at once
_STAMP = 3  # numbers that say which state of a file was read


@dataclasses.dataclass
class Checked:
    """What is known of one file.

    Attributes:
      id: example id.
      stamp: size, time of modification and time of change when it was read; empty: read it again.
      digest: of its content.
      error: why it cannot be decoded; empty if it can.
    """

    id: int
    stamp: list[int] = dataclasses.field(default_factory=list)
    digest: int = 0
    error: str = ""


def read_index(path: pathlib.Path) -> dict[str, Checked]:
    """Reads an index; there is nothing in one that does not exist.

    Args:
      path: path of the index.

    Returns:
      Relative path of a file → what is known of it.

    Raises:
      ValueError: it is no index.
    """
    if not path.exists():
        return {}
    found = read_json(path)
    version = {"format": _FORMAT, "decoding": _decoding.VERSION}
    try:
        # Another version of the decoding may fail for other files.
        stale = {key: found[key] for key in version} != version
        if found["format"] != _FORMAT:
            raise ValueError(f"its format is {found['format']!r}")
        entries = {name: Checked(*fields) for name, fields in found["files"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} is no index of image files ({error!r}): name another file, or delete it, and "
            "all files are read again"
        ) from error
    if stale:
        entries = {name: Checked(entry.id) for name, entry in entries.items()}
    return entries


def write_index(path: pathlib.Path, entries: Mapping[str, Checked]) -> None:
    """Replaces an index as a whole.

    Args:
      path: path of the index.
      entries: relative path of a file → what is known of it; also of files that are gone, whose ids
        are given to no other.
    """
    rows = {name: list(dataclasses.astuple(entry)) for name, entry in sorted(entries.items())}
    document = {"format": _FORMAT, "decoding": _decoding.VERSION, "files": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document))


def check_files(root: str, entries: Mapping[str, Checked]) -> None:
    """Reads and decodes those of some files that are new or changed.

    Args:
      root: folder of the files.
      entries: relative path of a file → what is known of it, which is brought up to date.
    """
    due = [name for name, one in entries.items() if one.stamp != _stamp(os.path.join(root, name))]
    source = ImageFiles(root, due)
    for block in _blocks(due):
        for position, entry in zip(block, map_threads(_checker(source), block), strict=True):
            name = due[position]
            entries[name].stamp, entries[name].digest, entries[name].error = entry


def digests_of(entries: Iterable[Checked]) -> npt.NDArray[np.uint64]:
    """Returns the digests of some files, in their order."""
    return np.array([entry.digest for entry in entries], np.uint64)


def _blocks(names: Sequence[str]) -> Iterable[range]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    starts = range(0, len(names), _BLOCK)
    for start in track(
        starts,
        description="Checking images",
        console=console,
        transient=True,
        disable=not console.is_terminal or len(starts) < 2,
    ):
        yield range(start, min(start + _BLOCK, len(names)))


def _checker(source: ImageFiles) -> Any:
    def check(position: int) -> tuple[list[int], int, str]:
        begun = time.time_ns()
        stamp = _stamp(source.full_path(position))
        try:
            content = source[position]
        except OSError as error:
            return [], 0, f"{error.strerror or error}"
        if not stamp or stamp[2] > begun - _SETTLED:
            stamp = []
        return stamp, int(content_digests(HEADER, [content])[0]), _error(content)

    return check


def _stamp(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:
        return [-1] * _STAMP  # equal to no stamp that is stored: it is read, and fails
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _error(content: bytes) -> str:
    """Why a file cannot be decoded; empty if it can."""
    try:
        with _decoding.open_image(content) as image:
            image.draft("RGB", (1, 1))  # of a JPEG every byte is decoded, an eighth of the pixels
            _decoding.convert(image, "RGB").load()
    except Exception as error:
        if type(error).__name__ == "UnidentifiedImageError":  # names an address in memory
            return "in no format that Pillow reads" if content else "empty"
        return str(error) or type(error).__name__
    return ""
