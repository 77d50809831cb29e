"""Spots of a cache, and sketches of what is computed there: few numbers that differ as it does."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Numbers that are kept of an output for one example.
WIDTH = 64
_KEY = 0x6A6B64


def choose_spots(ids: np.ndarray, num_views: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Chooses examples and views by a hash of their ids: of a part of them, mostly the same ones.

    Args:
      ids: example ids, unique.
      num_views: number of views to choose from.
      count: number of spots; fewer where there are not as many examples and views.

    Returns:
      Ids and views, int32 `[n]` each.
    """
    hashes = _hash(ids.astype(np.uint64) + np.uint64(_KEY << 32))
    count_of_ids = min(count, len(hashes))
    nearest = np.argpartition(hashes, count_of_ids - 1)[:count_of_ids]
    nearest = nearest[np.argsort(hashes[nearest])]
    repeats = min(num_views, -(-count // len(nearest)))
    first = _hash(hashes[nearest]) % np.uint64(num_views)
    views = (first[None, :] + np.arange(repeats, dtype=np.uint64)[:, None]) % np.uint64(num_views)
    chosen = np.tile(ids[nearest], repeats)[:count]
    return chosen.astype(np.int32), views.reshape(-1)[:count].astype(np.int32)


def _hash(values: np.ndarray) -> np.ndarray:
    # The finalizer of SplitMix64: Steele, Lea and Flood, Fast Splittable Pseudorandom Number
    # Generators, 2014.
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def sketch(values: jax.Array, width: int = WIDTH) -> jax.Array:
    """Sketches values so that sketches are as far apart as the values are.

    Up to `width` numbers are kept as they are. Of more, every number gets a sign by a hash of its
    position, and number `j` of the sketch is the sum of those at positions `j`, `j + width`, …: a
    count sketch, the sparsest of the ±1 projections of Johnson and Lindenstrauss. The squared
    distance of two sketches is on average that of the values, and a single number that differs
    shows undiminished. Costs one addition for each number, and reads them once.

    Charikar, Chen, Farach-Colton, Finding Frequent Items in Data Streams, 2002; Kane, Nelson,
    Sparser Johnson-Lindenstrauss Transforms, 2014.

    Args:
      values: `[batch, ...]`; what is not finite counts as 0.
      width: numbers of a sketch.

    Returns:
      float32 `[batch, n]`, `n` at most `width`.
    """
    flat = values.reshape(len(values), -1).astype(jnp.float32)
    flat = jnp.where(jnp.isfinite(flat), flat, 0)
    size = flat.shape[1]
    if size <= width:
        return flat
    flat = jnp.pad(flat * _signs(size), ((0, 0), (0, -size % width)))
    return flat.reshape(len(flat), -1, width).sum(1)


def _signs(size: int) -> jax.Array:
    # Computed, so that the program holds no vector of the size of a vocabulary times a length. The
    # finalizer of MurmurHash3.
    bits = jnp.arange(size, dtype=jnp.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return 1 - 2 * ((bits ^ (bits >> 16)) & 1).astype(jnp.float32)


def packed(array: Any) -> dict[str, Any]:
    """Returns an array as plain data: its shape, and base64 of its bytes."""
    array = np.asarray(array)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def unpacked(data: Mapping[str, Any]) -> np.ndarray:
    """Returns the array that `packed` was given."""
    dtype = np.dtype(data["dtype"]).newbyteorder("<")
    flat = np.frombuffer(base64.b64decode(data["base64"]), dtype)
    return flat.astype(dtype.newbyteorder("=")).reshape(data["shape"])


def of_examples(document: Mapping[str, Any], ids: np.ndarray) -> dict[str, Any]:
    """Returns a document of identity with the spots of some examples alone.

    Args:
      document: of the kind `"teacher"` or `"views"`: entries by spot, and others.
      ids: example ids.
    """
    return rows_of([document], np.flatnonzero(np.isin(document["spots"]["ids"], ids)))


def rows_of(documents: Sequence[Mapping[str, Any]], rows: np.ndarray | None = None) -> Any:
    """Returns documents of identity joined spot by spot; what is not by spot is of the first.

    Args:
      documents: documents of one kind.
      rows: the spots that are kept, of all together; None: all.
    """
    first = documents[0]
    joined: dict[str, Any] = {}
    for name, value in first.items():
        parts = [document[name] for document in documents]
        if isinstance(value, list):
            whole = [item for part in parts for item in part]
            joined[name] = whole if rows is None else [whole[row] for row in rows]
        elif isinstance(value, Mapping) and "base64" in value:
            array = np.concatenate([unpacked(part) for part in parts])
            joined[name] = packed(array if rows is None else array[rows])
        else:
            joined[name] = rows_of(parts, rows) if isinstance(value, Mapping) else value
    return joined


def sort_spots(ids: Sequence[int], views: Sequence[int]) -> np.ndarray:
    """Returns the positions of different spots in the order in which they are chosen."""
    _, rows = np.unique(np.stack([ids, views]), axis=1, return_index=True)
    hashes = _hash(np.asarray(ids, np.int32).astype(np.uint64) + np.uint64(_KEY << 32))
    return rows[np.argsort(hashes[rows], kind="stable")]
