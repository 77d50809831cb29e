"""Spots of a cache, and sketches of what is computed there: few numbers that differ as it does."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache._contract import CacheError
from jaxkd.cache._identity import read_identity

# Numbers that are kept of an output for one example.
WIDTH = 64
_KEY = 0x6A6B64
# Larger numbers mask classes or tokens: -65504, -1e9, the least of float32. Beside them nothing
# else would count, so of these the logarithm does, in numbers as large as those of logits.
_MASK, _MASKED, _OCTAVE = 2.0**15, 4.0, 1 / 8


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
      values: `[batch, ...]`; what is not finite counts as 0, masks as 4 to 19 with their sign.
      width: numbers of a sketch.

    Returns:
      float32 `[batch, n]`, `n` at most `width`.
    """
    flat = values.reshape(len(values), -1).astype(jnp.float32)
    size = jnp.abs(flat)
    masks = jnp.sign(flat) * (_MASKED + _OCTAVE * jnp.log2(jnp.maximum(size, _MASK) / _MASK))
    flat = jnp.where(jnp.isfinite(flat), jnp.where(size > _MASK, masks, flat), 0)
    length = flat.shape[1]
    if length <= width:
        return flat
    flat = jnp.pad(flat * _signs(length), ((0, 0), (0, -length % width)))
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


def read_spots(path: str, contract: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Reads the document of identity of a teacher or of views, with entries of the right types.

    Args:
      path: path of the cache.
      contract: its contract.
      kind: `"teacher"` or `"views"`.

    Returns:
      The document; None if the cache was written without it.

    Raises:
      CacheError: as `read_identity`, and for entries that are not what was written.
    """
    document = read_identity(path, contract, kind)
    try:
        if document is not None:
            _check_types(document, kind)
    except CacheError:
        raise
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CacheError(
            f"the cache {path} is damaged: identity/{contract['id']}/{kind}.json is no document of "
            f"{kind} ({error}). Restore that file from a copy, or build the cache anew."
        ) from error
    return document


def _check_types(document: Mapping[str, Any], kind: str) -> None:
    ids, views = (np.asarray(document["spots"][name]) for name in ("ids", "views"))
    if ids.dtype.kind != "i" or views.dtype.kind != "i" or ids.ndim != 1 or len(ids) < 1:
        raise ValueError(f"its spots are {document['spots']!r:.80}")
    arrays = document["outputs"] if kind == "teacher" else {"views": document["sketches"]}
    shapes = [unpacked(array).shape for array in arrays.values()]
    lengths = {len(views), *(shape[0] if len(shape) == 2 else -1 for shape in shapes)}
    if kind == "views":
        lengths.add(len(list(document["digests"])))
    elif not isinstance(document["rounding"], float):
        raise TypeError(f"its rounding is {document['rounding']!r:.80}")
    if lengths != {len(ids)} or not shapes:
        raise ValueError(f"it has {len(ids)} spots, and arrays of the shapes {shapes}")


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
