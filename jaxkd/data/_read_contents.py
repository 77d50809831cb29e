"""The contents of many encoded images: read in all threads of the processor, and named."""

import concurrent.futures
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jaxkd.data._digests import content_digests

HEADER = "jaxkd.EncodedImages 1 "
"""What the digest of each content begins with."""

_serial = False  # of this process: whether it is one of several that decode
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def decode_serially() -> None:
    """Has this process decode in the calling thread, where several processes decode already."""
    global _serial
    _serial = True


def map_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Applies a function in all threads of the processor.

    Args:
      function: what is done to an item; releases the interpreter's lock most of the time.
      items: all of them are begun at once.

    Returns:
      The results in the order of the items.
    """
    return map(function, items) if _serial else _threads().map(function, items)


def read_all(
    source: Sequence[bytes], ids: np.ndarray, positions: np.ndarray
) -> tuple[str, npt.NDArray[np.uint64]]:
    """Reads all contents, one at a time.

    Args:
      source: contents by position.
      ids: example ids `[n]`, ascending.
      positions: where each of them is in the source.

    Returns:
      The fingerprint of all contents with their ids, and the digest of each by its position.
    """
    digest = hashlib.sha256(b"jaxkd.Records 1")

    def contents() -> Iterator[bytes]:
        for example_id, position in zip(ids, positions, strict=True):
            content = source[int(position)]
            digest.update(f" {example_id} {len(content)} ".encode() + content)
            yield content

    digests = np.empty(len(positions), np.uint64)
    digests[positions] = content_digests(HEADER, contents())
    return f"sha256:{digest.hexdigest()}", digests


@functools.lru_cache(maxsize=1)
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
