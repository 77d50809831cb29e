"""Where records lie: Zarr 3 arrays and JSON documents in any place that TensorStore reaches.

An array has the shape `[views, examples, …]`. One shard, a file of its own, holds one *block* of
consecutive examples of one view; inside it are smaller chunks, each with its checksum. TensorStore
writes a shard under a temporary name and renames it, so a block is there as a whole or not at all,
and the list of files is the only record of what has been computed.
"""

import json
import math
import pathlib
from typing import Any

import numpy as np

from jaxkd.cache._contract import CacheError
from jaxkd.targets import Layout

# Rows in a chunk inside a shard: what a read of one record costs at least.
_ROWS_PER_CHUNK = 256
# Little-endian bytes with a checksum.
_CHECKED = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


def location(path: str | pathlib.Path) -> dict[str, Any] | str:
    """TensorStore's name of a directory: URLs (`gs://`, `s3://`) as they are, else a local path."""
    if "://" in str(path):
        return str(path).rstrip("/") + "/"
    return {"driver": "file", "path": str(pathlib.Path(path).absolute()) + "/"}


def read_document(path: str | pathlib.Path, name: str) -> dict[str, Any] | None:
    """A JSON document of the cache, or None if it is not there."""
    import tensorstore as ts

    found = ts.KvStore.open(location(path)).result().read(name).result()
    return json.loads(found.value) if found.state == "value" else None


def write_document(path: str | pathlib.Path, name: str, document: dict[str, Any]) -> None:
    """Writes a JSON document, whole or not at all."""
    import tensorstore as ts

    text = json.dumps(document, indent=2, sort_keys=True)
    ts.KvStore.open(location(path)).result().write(name, text.encode()).result()


def open_arrays(
    path: str | pathlib.Path,
    layout: Layout,
    views: int,
    examples: int,
    block: int,
    *,
    create: bool = False,
) -> dict[str, Any]:
    """Opens the arrays of a layout; with `create`, makes those that are missing.

    Returns:
      Name → TensorStore of shape `[views, examples, *record]`.
    """
    import tensorstore as ts

    arrays = {}
    for name, (shape, dtype) in layout.items():
        inner = [1, math.gcd(block, _ROWS_PER_CHUNK), *shape]
        sharding = {"chunk_shape": inner, "codecs": _CHECKED, "index_codecs": _CHECKED}
        arrays[name] = ts.open(
            {
                "driver": "zarr3",
                "kvstore": ts.KvStore.Spec(location(path)) / f"records/{name}/",
                # A block of zeros must leave a file too: files say what has been computed.
                "store_data_equal_to_fill_value": True,
                # A file that is gone is an error, not a block of zeros.
                "fill_missing_data_reads": False,
            },
            open=True,
            create=create,
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


def open_ids(path: str | pathlib.Path, ids: np.ndarray | None = None) -> np.ndarray:
    """The example ids of the cache, ascending; written first if given."""
    import tensorstore as ts

    spec = {
        "driver": "zarr3",
        "kvstore": ts.KvStore.Spec(location(path)) / "ids/",
        "fill_missing_data_reads": False,
    }
    if ids is None:
        return read_rows(path, "ids", ts.open(spec, open=True).result(), slice(None))
    # Whatever lies here without a contract was left by a build that was killed in its first moment.
    array = ts.open(
        spec,
        create=True,
        delete_existing=True,
        dtype=ts.int32,
        shape=ids.shape,
        codec=ts.CodecSpec({"driver": "zarr3", "codecs": _CHECKED}),
    ).result()
    array.write(ids).result()
    return ids


def blocks_present(path: str | pathlib.Path, layout: Layout, views: int, blocks: int) -> np.ndarray:
    """Which blocks are there in every array: bool `[views, blocks]`."""
    import tensorstore as ts

    present = np.ones((views, blocks), bool)
    for name in layout:
        store = ts.KvStore.open(location(path)).result()
        prefix = f"records/{name}/c/"
        listed = store.list(ts.KvStore.KeyRange(prefix, prefix[:-1] + "0")).result()
        found = np.zeros_like(present)
        for key in listed:
            parts = key.decode().removeprefix(prefix).split("/")
            # Whatever is not the name of a shard is a leftover of a write that was cut short.
            if all(part.isdigit() for part in parts):
                found[int(parts[0]), int(parts[1])] = True
        present &= found
    return present


def read_rows(path: str | pathlib.Path, name: str, array: Any, selection: Any) -> np.ndarray:
    """Reads part of an array.

    Raises:
      CacheError: a checksum does not match, or a file is gone; names the file.
    """
    try:
        return np.asarray(array[selection].read().result())
    except ValueError as error:
        raise CacheError(
            f"the cache {path} is damaged in the array {name!r}: {error}. Delete the file named "
            "here and build again with the same arguments: only that block is computed anew."
        ) from error
