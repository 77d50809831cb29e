"""Names of content: of whole arrays, and of each example in them."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

_BYTES = 8  # of a digest by example: two contents of one id are compared, never all with all
_CHUNK_BYTES = 32 << 20


def hash_arrays(header: str, *arrays: np.ndarray) -> str:
    """Returns a name for the content of arrays, `"sha256:<64 hex digits>"`.

    Args:
      header: further text that is part of the content.
      *arrays: arrays of numbers; hashed as little-endian, so that every machine finds the same.
    """
    digest = hashlib.sha256(header.encode())
    for array in arrays:
        digest.update(_little_endian(array).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def row_digests(header: str, *arrays: np.ndarray) -> npt.NDArray[np.uint64]:
    """Returns a digest for each row of some arrays, by its dtype, shape and bytes.

    Args:
      header: further text that is part of each row's content.
      *arrays: arrays `[n, ...]` of numbers, with the same number of rows.

    Returns:
      uint64 `[n]`.
    """
    kinds = " ".join(f"{dtype_name(array.dtype)} {array.shape[1:]}" for array in arrays)
    begin = hashlib.sha256(f"{header} {kinds}".encode())
    return _as_numbers(_digest(begin, row) for row in _rows(arrays))


def content_digests(header: str, contents: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """Returns a digest for each of some contents of files.

    Args:
      header: further text that is part of each content.
      contents: contents of files.

    Returns:
      uint64 `[n]`.
    """
    begin = hashlib.sha256(header.encode())
    return _as_numbers(_digest(begin, content) for content in contents)


def dtype_name(dtype: np.dtype) -> str:
    """Returns a name that no other dtype has; that of records names their fields too."""
    return dtype.name if dtype.names is None else f"{dtype.name} {dtype.newbyteorder('<').descr}"


def _digest(begin: "hashlib._Hash", content: bytes | memoryview) -> bytes:
    digest = begin.copy()
    digest.update(content)
    return digest.digest()[:_BYTES]


def _as_numbers(digests: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _rows(arrays: tuple[np.ndarray, ...]) -> Iterator[memoryview]:
    """The bytes of each row, those of all arrays one after the other."""
    width = sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays)
    step = max(1, _CHUNK_BYTES // max(1, width))
    for start in range(0, len(arrays[0]), step):
        parts = [_row_bytes(array[start : start + step]) for array in arrays]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        flat = joined.reshape(-1).data
        for row in range(len(joined)):
            yield flat[row * width : (row + 1) * width]


def _row_bytes(array: np.ndarray) -> npt.NDArray[np.uint8]:
    little = _little_endian(array)
    width = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    return little.reshape(-1).view(np.uint8).reshape(len(array), width)


def _little_endian(array: np.ndarray) -> np.ndarray:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little)
