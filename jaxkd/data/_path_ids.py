"""Example ids of files: hashes of their paths, so that a folder may grow.

The id of a file is the first 31 bits of a hash of its path, relative to the folder, with `/` and
with accents composed (NFC), so that it is the same on every machine. Paths are more than there are
ids, so no function of a path alone can tell all of them apart: among n files about n² / 2³² pairs
have the same 31 bits (20,000 files: 0.1; 1.3 million: 390). Of such a pair, the path whose whole
hash is the smaller keeps the number, and the other one takes the next number of its own sequence
of hashes that is free. So an id depends on other files only where two collide: each file that is
added moves the id of one that was there with a probability of n / 2³² (20,000 files: 1 in 200,000).
A cache sees then that there is another content under that id, and says so. Where ids are kept in an
index, no file ever moves.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxkd.data._examples import integers


def path_ids(paths: Sequence[str], known: Mapping[str, int] | None = None) -> npt.NDArray[np.int32]:
    """Returns an id for each of some names.

    Args:
      paths: names, each given once: relative paths, or any other texts that stay.
      known: name → id, of names that have one already; others take none of these.

    Returns:
      int32 `[n]`, unique.
    """
    found = dict(known or {})
    taken = set(found.values())
    # In the order of the whole hash, which does not depend on what else there is.
    waiting = sorted((_hash(path, 0), path) for path in paths if path not in found)
    attempt = 0
    while waiting:
        # All first choices before all second ones: who collides takes nobody's first choice.
        collided = []
        for digest, path in waiting:
            number = int.from_bytes(digest[:4], "big") >> 1
            if number in taken:
                collided.append(path)
            else:
                taken.add(number)
                found[path] = number
        attempt += 1
        waiting = sorted((_hash(path, attempt), path) for path in collided)
    return np.array([found[path] for path in paths], np.int32)


def checked_ids(ids: Sequence[Any]) -> npt.NDArray[np.integer]:
    """Returns example ids as they are, and of texts those that `path_ids` gives them.

    Args:
      ids: integers, or texts.

    Returns:
      Integers `[n]`.

    Raises:
      TypeError: something else, or both.
      ValueError: a text that is given twice.
    """
    if len(ids) and all(isinstance(one, str) for one in ids):
        if len(set(ids)) < len(ids):
            twice = next(one for place, one in enumerate(ids) if one in ids[:place])
            raise ValueError(f"every id must be unique, {twice!r} is given more than once")
        return path_ids(ids)
    try:
        return integers(ids, "ids")
    except TypeError as error:
        wrong = next(one for one in ids if not isinstance(one, int | np.integer))
        raise TypeError(f"ids must be all integers or all texts, got {wrong!r}") from error


def _hash(path: str, attempt: int) -> bytes:
    name = unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")
    return hashlib.sha256(b"jaxkd path %d " % attempt + name).digest()
