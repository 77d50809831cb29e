"""Running the teacher again on some records, against what is stored."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxkd.cache._cache import Cache
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._record_format import RecordFormat
from jaxkd.cache._statistics import most_probable
from jaxkd.cache._teacher import make_teacher_fn
from jaxkd.data import Examples, raw_batch
from jaxkd.losses import SparseLogits
from jaxkd.networks import Network
from jaxkd.targets import EncodedOutputs
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True)
class SpotCheckResult:
    """Agreement of a teacher with what a cache stores of it.

    Attributes:
      records: number of records that were compared.
      max_difference: output → the largest absolute difference of stored numbers.
      changed_predictions: number of records (or tokens) whose most probable class differs.
    """

    records: int
    max_difference: dict[str, float]
    changed_predictions: int


def spot_check(
    cache: Cache,
    teacher: Network,
    dataset: Examples,
    views: Views | None = None,
    *,
    records: int = 256,
    seed: int = 0,
) -> SpotCheckResult:
    """Runs the teacher again on random records and compares its encoded outputs with the stored.

    Args:
      cache: opened and checked.
      teacher: the network.
      dataset: the examples.
      views: how they are rendered, by default unchanged.
      records: number of records, over all views, at least 1.
      seed: seed of the choice.

    Returns:
      The differences. Another batch size or machine rounds otherwise; more than rounding means
      that the cache is of another teacher, or of other views.

    Raises:
      ValueError: fewer than one record.
    """
    if records < 1:
        raise ValueError(f"records must be at least 1, not {records}")
    views = views or Views()
    rng = np.random.default_rng(seed)
    ids = rng.choice(dataset.ids, records).astype(np.int32)
    record_format = RecordFormat(cache.codecs, cache.shapes)
    teacher_fn = make_teacher_fn(CacheContents(teacher, dataset, views, record_format))
    largest = dict.fromkeys(cache.codecs, 0.0)
    changed = 0
    for view, some in enumerate(np.array_split(ids, cache.num_views)):
        if not some.size:
            continue
        arrays, _ = teacher_fn(raw_batch(dataset, views, some, np.full(len(some), view, np.int32)))
        # Both sides are decoded: what the codec loses is in both, and does not count.
        fresh = EncodedOutputs.from_flat(
            jax.device_get(arrays), cache.codecs, cache.shapes
        ).decode()
        stored = cache.read(some, view).decode()
        for output in cache.codecs:
            new, old = fresh[output], stored[output]
            pairs = zip(jax.tree.leaves(_values(new)), jax.tree.leaves(_values(old)), strict=True)
            with np.errstate(invalid="ignore"):
                difference = max(float(np.nanmax(np.abs(a - b), initial=0)) for a, b in pairs)
            largest[output] = max(largest[output], difference)
            if output == "logits":
                changed += int(np.sum(most_probable(new) != most_probable(old)))
    return SpotCheckResult(len(ids), largest, changed)


def _values(decoded: Any) -> Any:
    """What may differ by rounding; classes of equal probability may be in another order."""
    return (decoded.logits, decoded.tail) if isinstance(decoded, SparseLogits) else decoded
