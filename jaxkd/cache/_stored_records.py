"""A teacher against the records that a cache stores, where nothing else is kept of it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._sketch import WIDTH, sketch
from jaxkd.cache._teacher import make_teacher_fn
from jaxkd.data import raw_batch
from jaxkd.losses import SampledClasses, SparseLogits
from jaxkd.targets import EncodedOutputs

# Records that are compared when a cache is opened: the largest difference of one, relative to the
# spread of what is stored, and the share of records that a codec may round to another code.
_RECORDS, _TOLERANCE, _ROUNDED = 64, 5e-2, 0.05


class Records(Protocol):
    """What is needed of an open cache."""

    path: str
    codecs: Any
    shapes: Any
    num_views: int

    def read(self, ids: np.ndarray, view: int) -> EncodedOutputs:
        """Returns the encoded outputs for some examples in one view."""


def check_records(cache: Records, contents: CacheContents, allow: Collection[str] = ()) -> None:
    """Refuses a network whose outputs differ from those that a cache stores.

    Codecs round: a number near the border of two codes may be stored as the other one. So a few
    records may differ, and each by little.

    Args:
      cache: the cache.
      contents: the network, its inputs, and the format of the records.
      allow: names of fields that may differ.

    Raises:
      CacheError: names the worst example, with both outputs.
    """
    ids = contents.dataset.ids
    step = max(1, len(ids) // _RECORDS)
    parts = list(decoded_records(cache, contents, ids[::step][:_RECORDS], batch_size=_RECORDS // 4))
    for output in cache.codecs:
        new, old = (
            np.concatenate([_flat(part[side][output]) for part in parts]) for side in (1, 2)
        )
        places = [place for some, _, _ in parts for place in some]
        spread = np.sqrt(np.mean((old - old.mean(axis=0)) ** 2) + 1e-4 * np.mean(old**2))
        differences = np.sqrt(np.mean((new - old) ** 2, axis=1))
        differ = differences > _TOLERANCE * spread
        if differ.sum() > max(1, _ROUNDED * len(differ)) or differ.all():
            worst = int(np.argmax(differences))
            what = f"{output} of example {places[worst][0]} in view {places[worst][1]}: "
            off = f" ({int(differ.sum())} of {len(differ)} records differ by more than rounding)"
            _contract.check(
                cache.path,
                {"teacher.outputs": what + _contract.numbers(old[worst])},
                {"teacher.outputs": what + _contract.numbers(new[worst]) + off},
                allow,
            )


def decoded_records(
    cache: Records, contents: CacheContents, ids: np.ndarray, batch_size: int | None = None
) -> Iterator[tuple[list[tuple[int, int]], Mapping[str, Any], Mapping[str, Any]]]:
    """Computes records again, and reads them.

    Args:
      cache: the cache.
      contents: the network, its inputs, and the format of the records.
      ids: example ids, which are shared out among the views.
      batch_size: examples in a forward pass; None: all of a view.

    Yields:
      Places `(id, view)`, what the teacher computes there now, and what is stored; both decoded.
    """
    teacher_fn = make_teacher_fn(contents)
    for view, some in enumerate(np.array_split(ids, cache.num_views)):
        size = batch_size or max(1, len(some))
        for start in range(0, len(some), size):
            part = some[start : start + size]
            views = np.full(len(part), view, np.int32)
            batch = raw_batch(contents.dataset, contents.views, part, views)
            # Both sides are decoded: what the codec loses is in both, and does not count.
            arrays = jax.device_get(teacher_fn(batch)[0])
            fresh = EncodedOutputs.from_flat(arrays, cache.codecs, cache.shapes).decode()
            yield [(int(i), view) for i in part], fresh, cache.read(part, view).decode()


def _flat(decoded: Any) -> np.ndarray:
    """A sketch of decoded records, `[n, k]`; of sparse logits and samples, of their classes."""
    if hasattr(decoded, "shape"):
        return np.asarray(sketch(jnp.asarray(decoded)), np.float64)
    if isinstance(decoded, SparseLogits):
        present = decoded.indices < decoded.num_classes
        logits = jnp.where(present, decoded.logits, -jnp.inf)
        return _by_class(decoded.indices, jax.nn.softmax(logits, axis=-1))
    if isinstance(decoded, SampledClasses):
        return _by_class(decoded.indices, jnp.ones(decoded.indices.shape))
    return np.concatenate([_flat(leaf) for leaf in jax.tree.leaves(decoded)], axis=1)


def _by_class(classes: Any, weights: Any) -> np.ndarray:
    """Sums weights over classes of the same remainder."""
    count = len(classes)
    flat = np.zeros((count, WIDTH))
    remainders = np.asarray(classes).reshape(count, -1) % WIDTH
    np.add.at(flat, (np.arange(count)[:, None], remainders), np.asarray(weights).reshape(count, -1))
    return flat
