"""Averages over the logits of a cache."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.data import Examples
from jaxkd.data._labels import class_ids
from jaxkd.losses import SparseLogits


@dataclasses.dataclass(frozen=True)
class LogitStatistics:
    """Averages over the logits of a cache.

    Attributes:
      records: number of records, or of tokens.
      mass: mean probability of the stored classes at temperature 1; 1 for dense logits.
      entropy: mean entropy in nats at temperature 1, all classes that are not stored as one.
      confidence: mean probability of the most probable class.
      accuracy: share of records whose most probable class is the label; None without labels.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(
      ...     tempfile.mkdtemp(), teacher, data, codec=jaxkd.targets.TopK(2), progress=False)
      >>> found = jaxkd.cache.stats(cache)
      >>> round(found.mass, 2), found.accuracy
      (0.76, None)
    """

    records: int
    mass: float
    entropy: float
    confidence: float
    accuracy: float | None


def stats(cache: Cache, dataset: Examples | None = None) -> LogitStatistics:
    """Reads all logits of a cache.

    Args:
      cache: opened.
      dataset: data set with the labels, of which -1 does not count. Where every token has a label,
        tokens without one do not count at all.

    Returns:
      The averages.

    Raises:
      CacheError: it stores no logits, or samples of classes only; a data set that it does not
        belong to, other labels aside; or a damaged file.
      KeyError: examples of the cache that are not in the data set.
      ValueError: labels that are not one class for each row of logits.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> averages = stats(cache)
      >>> averages.records, round(averages.confidence, 3), round(averages.entropy, 3)
      (4, 0.515, 1.006)
    """
    if "logits" not in cache.codecs:
        raise CacheError(f"the cache {cache.path} stores {sorted(cache.codecs)}, no logits")
    if dataset is not None:
        cache.check(dataset=dataset.select(cache.ids), allow={"dataset.labels"})
        _check_labels(cache, dataset)
    sums, count, hits, labeled = np.zeros(3), 0, 0, 0
    summarize = jax.jit(lambda record, where: _summary(record.decode()["logits"], where))
    for view in range(cache.num_views):
        for ids, record in cache.stream(view):
            labels = None if dataset is None else dataset.labels[dataset.rows(ids)]
            where = labels >= 0 if labels is not None and labels.ndim > 1 else None
            numbers, best = jax.device_get(summarize(record, where))
            sums += np.asarray(numbers, float)
            count += best.size if where is None else int(where.sum())
            if labels is not None and best.shape == labels.shape:
                hits += int(np.sum(best == labels))
                labeled += int(np.sum(labels >= 0))
    mass, entropy, confidence = (float(x) for x in sums / count)
    return LogitStatistics(count, mass, entropy, confidence, hits / labeled if labeled else None)


def _check_labels(cache: Cache, dataset: Examples) -> None:
    """Refuses labels that are no classes of the logits: there is no accuracy of them."""
    labels = dataset.labels
    fits = not isinstance(labels, Mapping) and labels.dtype.kind == "i"
    if not fits or labels.shape[1:] != tuple(cache.shapes["logits"])[:-1]:
        class_ids(dataset, "the accuracy of a teacher")
        raise ValueError(
            f"the logits of the cache {cache.path} have the shape {cache.shapes['logits']} for one "
            f"example, the labels of {dataset.name} {labels.shape[1:]}: leave the data set out for "
            "the averages that need no labels"
        )


def _summary(logits: Any, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Sums stored mass, entropy and largest probability, and finds the most probable classes.

    Args:
      logits: as decoded.
      where: bool, the rows of logits that count; None for all.

    Returns:
      The sums, float `[3]`, and the most probable class of every row of logits.

    Raises:
      CacheError: the logits hold samples only, or their tail is not stored at temperature 1.
    """
    if isinstance(logits, SparseLogits):
        if 1.0 not in logits.temperatures:
            raise CacheError(
                f"the tail is known at the temperatures {logits.temperatures}, not at 1"
            )
        tail = logits.tail[..., logits.temperatures.index(1.0), None]
        logs = jax.nn.log_softmax(jnp.concatenate([logits.logits, tail], axis=-1))
        stored = logs[..., :-1]
    elif hasattr(logits, "shape"):
        logs = stored = jax.nn.log_softmax(logits)
    else:
        raise CacheError(f"no statistics of {type(logits).__name__}: it holds samples only")
    p = jnp.exp(logs)
    entropy = -jnp.sum(jnp.where(p > 0, p * logs, 0), axis=-1)
    mass, confidence = jnp.sum(jnp.exp(stored), axis=-1), jnp.exp(stored.max(-1))
    rows = jnp.stack([mass, entropy, confidence]).reshape(3, -1)
    counted = rows if where is None else jnp.where(where.ravel(), rows, 0)
    return counted.sum(axis=1), most_probable(logits)


def most_probable(logits: Any) -> Any:
    """The most probable class of each row of decoded logits; of samples, none."""
    if isinstance(logits, SparseLogits):
        position = jnp.argmax(logits.logits, axis=-1)[..., None]
        return jnp.take_along_axis(logits.indices, position, axis=-1)[..., 0]
    if hasattr(logits, "shape"):
        return jnp.argmax(logits, axis=-1)
    return jnp.zeros(0, jnp.int32)
