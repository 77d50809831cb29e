"""Storage: Zarr 3 arrays and JSON documents in any place that TensorStore reaches.

TensorStore writes a file under a temporary name and renames it (object stores do the like), so a
file is there as a whole or not at all. Every document carries a digest of itself, every chunk of an
array a checksum.
"""

import hashlib
import json
import math
import pathlib
from typing import Any

import numpy as np

from jaxkd._files import parse_json
from jaxkd.cache import _location
from jaxkd.cache._contract import CacheError, damaged, plain_number
from jaxkd.targets import Layout

# Rows of a chunk inside a file, and its most bytes: the least that reading one record costs.
_ROWS_PER_CHUNK, _CHUNK_BYTES = 256, 1 << 20
# Memory for recently read chunks, of all arrays of a segment.
_CACHE_BYTES = 64 << 20
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CHECKSUM = {"name": "crc32c"}

Path = str | pathlib.Path


def files(path: Path) -> Any:
    """Opens the files of a directory as a TensorStore key-value store."""
    return _location.open_files(path)


def names(path: Path, prefix: str) -> list[str]:
    """Returns the names of all files that begin with a prefix, which ends in a slash."""
    import tensorstore as ts

    keys = ts.KvStore.KeyRange(prefix, prefix[:-1] + "0")  # "0" follows "/"
    return sorted(key.decode() for key in _location.result(files(path).list(keys), path))


def read_bytes(path: Path, name: str) -> bytes | None:
    """Reads a file; None if it is not there."""
    found = _location.result(files(path).read(name), path)
    return bytes(found.value) if found.state == "value" else None


def write_bytes(path: Path, name: str, value: bytes | None) -> None:
    """Writes a file, whole or not at all; None deletes it."""
    _location.result(files(path).write(name, value), path, len(value or b""))


def read_versioned(path: Path, name: str) -> tuple[bytes | None, bytes]:
    """Reads a file together with its version, for `replace_bytes`; None if it is not there."""
    found = _location.result(files(path).read(name), path)
    return (bytes(found.value) if found.state == "value" else None), found.stamp.generation


def replace_bytes(path: Path, name: str, value: bytes, version: bytes) -> bool:
    """Writes a file if it still has a version, which may be that of a missing file.

    Args:
      path: path of the cache.
      name: name of the file.
      value: the new content.
      version: as of `read_versioned`.

    Returns:
      Whether it was written; False if somebody else wrote it in the meantime.
    """
    # TensorStore answers with an empty generation where the condition does not hold.
    written = files(path).write(name, value, if_equal=version)
    return bool(_location.result(written, path, len(value)).generation)


def replace_document(path: Path, name: str, document: dict[str, Any], version: bytes) -> bool:
    """Writes a JSON document with its digest if the file still has a version; see above."""
    return replace_bytes(path, name, _text(document), version)


def create_document(path: Path, name: str, document: dict[str, Any]) -> bool:
    """Writes a JSON document with its digest if the file is not there; returns whether it did."""
    there, version = read_versioned(path, name)
    return there is None and replace_document(path, name, document, version)


def read_document(path: Path, name: str) -> dict[str, Any] | None:
    """Reads a JSON document; None if it is not there.

    Args:
      path: path of the cache.
      name: name of the file.

    Returns:
      The document without its digest, or None.

    Raises:
      CacheError: a document that does not have its digest.
    """
    value = read_bytes(path, name)
    return None if value is None else _parsed(path, name, value)


def read_versioned_document(path: Path, name: str) -> tuple[dict[str, Any] | None, bytes]:
    """Reads a JSON document together with its version, for `replace_document`."""
    value, version = read_versioned(path, name)
    return (None if value is None else _parsed(path, name, value)), version


def _parsed(path: Path, name: str, value: bytes) -> dict[str, Any]:
    """The content of a document, whose digest it must have."""
    try:
        document = parse_json(value)
        digest = document.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CacheError(damaged(path, f"{name} cannot be read ({error})")) from error
    # The text too, so that a byte that leaves the meaning as it is does not go unnoticed.
    if digest != digest_of(document) or value != _text(document):
        raise CacheError(damaged(path, f"{name} does not have the digest that it was written with"))
    return dict(document)


def write_document(path: Path, name: str, document: dict[str, Any]) -> None:
    """Writes a JSON document with its digest."""
    write_bytes(path, name, _text(document))


def _text(document: dict[str, Any]) -> bytes:
    whole = {**document, "digest": digest_of(document)}
    return json.dumps(whole, indent=2, sort_keys=True, default=plain_number).encode()


def digest_of(document: dict[str, Any]) -> str:
    """Digest of the content of a document."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=plain_number)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def open_arrays(
    path: Path,
    prefix: str,
    layout: Layout,
    views: int,
    examples: int,
    block: int,
    *,
    compression: str | None = None,
    create: bool = False,
) -> dict[str, Any]:
    """Opens the arrays of a layout; with `create`, makes those that are missing.

    One shard, a file of its own, holds one block of consecutive examples of one view; inside it are
    smaller chunks, each with its checksum.

    Args:
      path: path of the cache.
      prefix: folder of the arrays.
      layout: array name → (shape of a record, dtype name).
      views: number of views.
      examples: number of examples.
      block: examples in a file.
      compression: Zarr codec of the chunks.
      create: whether to make arrays that are missing.

    Returns:
      Name → TensorStore of shape `[views, examples, *record]`.

    Raises:
      CacheError: the description of an array is gone or not the one that was written.
    """
    arguments = path, prefix, layout, views, examples, block, compression
    try:
        return _opened(*arguments, create=create, largest=_CHUNK_BYTES)
    except ValueError as error:
        if system := _location.os_error(error, path):
            raise system from error
        try:
            # As they were written before chunks of large records held fewer of them.
            return _opened(*arguments, create=False, largest=None)
        except ValueError:
            raise CacheError(
                f"the cache {path} is damaged below {prefix}: {error}. Restore the file named here "
                "from a copy, or build the cache anew."
            ) from error


def _opened(
    path: Path,
    prefix: str,
    layout: Layout,
    views: int,
    examples: int,
    block: int,
    compression: str | None,
    *,
    create: bool,
    largest: int | None,
) -> dict[str, Any]:
    import tensorstore as ts

    context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
    packed = [] if compression is None else [{"name": compression}]
    arrays = {}
    for name, (shape, dtype) in layout.items():
        rows = _ROWS_PER_CHUNK
        if largest is not None:
            fitting = largest // max(1, math.prod(shape) * np.dtype(dtype).itemsize)
            rows = min(rows, 1 << max(0, fitting.bit_length() - 1))
        inner = [1, math.gcd(block, rows), *shape]
        sharding = {
            "chunk_shape": inner,
            "codecs": [_BYTES, *packed, _CHECKSUM],
            "index_codecs": [_BYTES, _CHECKSUM],
        }
        arrays[name] = ts.open(
            {
                "driver": "zarr3",
                "kvstore": ts.KvStore.Spec(_location.location(path)) / f"{prefix}{name}/",
                # A block of zeros must leave a file too: files say what has been computed.
                "store_data_equal_to_fill_value": True,
                # A file that is gone is an error, not a block of zeros.
                "fill_missing_data_reads": False,
                # Blocks never change, so an index that was read once need not be read again.
                "recheck_cached_data": "open",
            },
            open=True,
            create=create,
            context=context,
            dtype=ts.dtype(dtype),
            shape=[views, examples, *shape],
            chunk_layout=ts.ChunkLayout(
                write_chunk_shape=[1, block, *shape], read_chunk_shape=inner
            ),
            codec=ts.CodecSpec(
                {
                    "driver": "zarr3",
                    "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
                }
            ),
        )
    return {name: array.result() for name, array in arrays.items()}


def in_memory(array: Any) -> Any:
    """Returns an empty array in memory of the same description as one of `open_arrays`."""
    import tensorstore as ts

    return ts.open(
        {**array.spec().to_json(), "kvstore": {"driver": "memory"}, "open": True, "create": True},
        context=ts.Context({"cache_pool": {"total_bytes_limit": 0}}),
    ).result()


def read_rows(path: Path, name: str, future: Any) -> np.ndarray:
    """Waits for a read of an array.

    Args:
      path: path of the cache, for the message.
      name: name of the array, for the message.
      future: the read.

    Returns:
      The rows that were read.

    Raises:
      CacheError: a checksum does not match, or a file is gone; names array and file.
    """
    try:
        return np.asarray(_location.result(future, path))
    except ValueError as error:
        raise CacheError(
            f"the cache {path} is damaged in the array {name!r}: {error}. Delete the file named "
            "here and build again with the same arguments: only that block is computed anew."
        ) from error
