"""Running the teacher again on some records, against what is stored."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxkd.cache._cache import Cache
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._foreign import RUNS, Teacher, runnable
from jaxkd.cache._record_format import RecordFormat
from jaxkd.cache._statistics import most_probable
from jaxkd.cache._stored_records import decoded_records
from jaxkd.data import Examples
from jaxkd.losses import SparseLogits
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True)
class SpotCheckResult:
    """Agreement of a teacher with what a cache stores of it.

    Attributes:
      records: number of records that were compared.
      max_difference: output → the largest absolute difference of stored numbers.
      changed_predictions: number of records (or tokens) whose most probable class differs.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> doubled = jaxkd.from_function(lambda params, inputs: inputs @ params, 2 * jnp.eye(4, 3))
      >>> found = jaxkd.cache.spot_check(cache, doubled, data, records=8)
      >>> found.max_difference, found.changed_predictions
      ({'logits': 1.0}, 0)
    """

    records: int
    max_difference: dict[str, float]
    changed_predictions: int


def spot_check(
    cache: Cache,
    teacher: Teacher,
    dataset: Examples,
    views: Views | None = None,
    *,
    records: int = 256,
    seed: int = 0,
) -> SpotCheckResult:
    """Runs the teacher again on random records and compares its encoded outputs with the stored.

    Args:
      cache: opened and checked.
      teacher: the network, or another teacher as in `jaxkd.cache.build`.
      dataset: the examples.
      views: how they are rendered, by default unchanged.
      records: number of records, over all views, at least 1.
      seed: seed of the choice.

    Returns:
      The differences. Another batch size or machine rounds otherwise; more than rounding means
      that the cache is of another teacher, or of other views.

    Raises:
      ValueError: fewer than one record.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> spot_check(cache, teacher, data, records=8)
      SpotCheckResult(records=8, max_difference={'logits': 0.0}, changed_predictions=0)
    """
    if records < 1:
        raise ValueError(f"records must be at least 1, not {records}")
    record_format = RecordFormat(cache.codecs, cache.shapes)
    # A function goes by the name that it was built with; here its outputs are compared.
    of_function = None if isinstance(teacher, RUNS) else cache.contract.get("teacher.name", "it")
    runs = runnable(teacher, of_function)
    contents = CacheContents(runs, dataset, views or Views(), record_format)
    ids = np.random.default_rng(seed).choice(dataset.ids, records).astype(np.int32)
    largest = dict.fromkeys(cache.codecs, 0.0)
    changed = 0
    for _, fresh, stored in decoded_records(cache, contents, ids):
        for output in cache.codecs:
            difference = np.nanmax(_difference(fresh[output], stored[output]), initial=0)
            largest[output] = max(largest[output], float(difference))
        if "logits" in cache.codecs:
            new, old = (most_probable(side["logits"]) for side in (fresh, stored))
            changed += int(np.sum(new != old))
    return SpotCheckResult(len(ids), largest, changed)


def _difference(new: Any, old: Any) -> np.ndarray:
    pairs = zip(jax.tree.leaves(_values(new)), jax.tree.leaves(_values(old)), strict=True)
    with np.errstate(invalid="ignore"):
        return np.concatenate([np.abs(np.asarray(a) - np.asarray(b)).ravel() for a, b in pairs])


def _values(decoded: Any) -> Any:
    """What may differ by rounding; classes of equal probability may be in another order."""
    return (decoded.logits, decoded.tail) if isinstance(decoded, SparseLogits) else decoded
