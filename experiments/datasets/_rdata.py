"""Character vectors in the files in which R keeps the data of a package, without R.

A lazy-load database is a pair of files: the `.rdx` holds, compressed, where in the `.rdb` each
object lies; an object is its size as four bytes, big-endian, and a zlib stream. Both hold R's
binary serialization, of which as much is read here as character vectors and such an index need.

References:
  R Core Team, "R Internals", section 1.8, Serialization Formats.
"""

import os
import struct
from pathlib import Path
from typing import Any

from experiments.datasets._archives import gunzip, inflate

_VERSIONS = (2, 3)
_MOST_BYTES = 1 << 26  # of a decompressed object; a long novel has a million
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400
_LATIN1 = 1 << 2  # among the levels of a string
# Numbers of R's types.
_SYMBOL, _PAIRS, _STRING, _LOGICAL, _INTEGER, _REAL, _STRINGS, _LIST = 1, 2, 9, 10, 13, 14, 16, 19
_REFERENCE, _NULL = 0xFF, 0xFE
_NAMES = {3: "a closure", 4: "an environment", 238: "an alternative representation"}


def read_strings(path: str | os.PathLike[str], name: str) -> list[str]:
    """Reads one character vector of a lazy-load database.

    Args:
      path: of the database, without `.rdx` and `.rdb`.
      name: of the object.

    Returns:
      Its strings; a missing value is an empty one.

    Raises:
      FileNotFoundError: one of the two files is missing.
      ValueError: damaged files, no object of this name, or one that is no character vector.
    """
    index = Path(f"{os.fspath(path)}.rdx")
    try:
        entries = _Reader(gunzip(index, _MOST_BYTES)).value()["variables"]
    except FileNotFoundError:
        raise
    except (OSError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{index} is no index of an R package's data: {error}") from error
    if name not in entries:
        raise ValueError(f"{index} has no {name!r}, it has {sorted(entries)}")
    database = Path(f"{os.fspath(path)}.rdb")
    try:
        offset, length = entries[name]
        if not 0 <= offset <= offset + length <= database.stat().st_size:
            raise ValueError(f"it ends before byte {offset + length}")
        with database.open("rb") as file:
            file.seek(offset)
            content = file.read(length)
        found = _Reader(inflate(content[4:], _MOST_BYTES)).value()
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{name!r} cannot be read from {database}: {error}") from error
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{name!r} in {database} is no character vector")
    return found


class _Reader:
    """Reads one serialized object: strings, numbers, and lists of them by name."""

    def __init__(self, content: bytes):
        self._content, self._at = content, 0
        self._symbols: list[str] = []
        if self._take(2) != b"X\n":
            raise ValueError("it is not in R's binary serialization (XDR)")
        version, _, _ = self._integers(3)
        if version not in _VERSIONS:
            raise ValueError(f"its serialization has the version {version}, known are {_VERSIONS}")
        if version == 3:
            self._take(self._integers(1)[0])  # the encoding of the writing machine

    def value(self) -> Any:
        (flags,) = self._integers(1)
        kind = flags & 0xFF
        if kind == _NULL:
            return None
        if kind == _REFERENCE:
            return self._symbols[(flags >> 8 or self._integers(1)[0]) - 1]
        if kind == _SYMBOL:
            self._symbols.append(self.value())
            return self._symbols[-1]
        if kind == _STRING:
            (length,) = self._integers(1)
            text = self._take(max(0, length))
            return text.decode("latin-1" if (flags >> 12) & _LATIN1 else "utf-8")
        if kind == _PAIRS:
            return self._pairs(flags)
        if kind in (_LOGICAL, _INTEGER):
            found: list[Any] = list(self._integers(self._integers(1)[0]))
        elif kind == _REAL:
            (length,) = self._integers(1)
            found = list(struct.unpack(f">{length}d", self._take(8 * length)))
        elif kind in (_STRINGS, _LIST):
            found = [self.value() for _ in range(self._integers(1)[0])]
        else:
            raise ValueError(f"it holds {_NAMES.get(kind, f'an object of type {kind}')}")
        attributes = self.value() if flags & _HAS_ATTRIBUTES else None
        if kind == _LIST and attributes:
            return dict(zip(attributes["names"], found, strict=True))
        return found

    def _pairs(self, flags: int) -> dict[str, Any]:
        """Reads a linked list with tags, such as attributes."""
        found = {}
        while flags & 0xFF == _PAIRS:
            if flags & _HAS_ATTRIBUTES:
                self.value()
            tag = self.value() if flags & _HAS_TAG else ""
            found[tag] = self.value()
            (flags,) = self._integers(1)
        return found

    def _integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}i", self._take(4 * count))

    def _take(self, count: int) -> bytes:
        part = self._content[self._at : self._at + count]
        if count < 0 or len(part) < count:
            raise ValueError("it ends too early")
        self._at += count
        return part
