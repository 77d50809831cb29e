"""Looking after a cache: reading every checksum, asking the teacher again, statistics."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._build import make_teacher_fn
from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.cache._segment import Segment
from jaxkd.data import Examples, raw_batch
from jaxkd.losses import SparseLogits
from jaxkd.networks import Network
from jaxkd.targets import EncodedOutputs
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True)
class DamagedBlock:
    """Something that is not as it was written.

    Attributes:
      array: name of the array.
      view: of the block.
      block: index of the block.
      message: what was found, and the remedy.
    """

    array: str
    view: int
    block: int
    message: str


def verify(path: str | pathlib.Path, *, codecs: Sequence[type] = ()) -> list[DamagedBlock]:
    """Reads every record of a cache and so every checksum.

    Args:
      path: of the cache.
      codecs: classes of one's own codecs, if it was built with any.

    Returns:
      What is damaged; empty if nothing is.

    Raises:
      CacheError: there is no cache, it is not complete, or a document of it is damaged.
    """
    cache = Cache(path, codecs=codecs)
    return [damage for segment in cache.segments for damage in _damages(segment)]


def _damages(segment: Segment) -> Iterator[DamagedBlock]:
    for row in range(segment.num_views):
        view = segment.first_view + row
        for index in range(segment.blocks):
            for name, future in segment.read(view, segment.rows(index)).items():
                try:
                    _store.read_rows(segment.path, name, future)
                except CacheError as error:
                    yield DamagedBlock(name, view, index, str(error))


@dataclasses.dataclass(frozen=True)
class SpotCheckResult:
    """A teacher asked again, against what is stored.

    Attributes:
      records: how many were compared.
      max_difference: output → the largest absolute difference of stored numbers.
      changed_predictions: records (or tokens) whose most probable class differs.
    """

    records: int
    max_difference: dict[str, float]
    changed_predictions: int


def spot_check(
    cache: Cache,
    teacher: Network,
    dataset: Examples,
    views: Views,
    *,
    records: int = 256,
    seed: int = 0,
) -> SpotCheckResult:
    """Re-runs the teacher on random records and compares its answers, encoded, with the stored.

    Args:
      cache: opened and checked.
      teacher: the network.
      dataset: the examples.
      views: how they are seen.
      records: how many, over all views.
      seed: of the choice.

    Returns:
      A `SpotCheckResult`. Another batch size or machine rounds otherwise; more than rounding means
      that the cache is of another teacher, or of other views.
    """
    rng = np.random.default_rng(seed)
    ids = rng.choice(dataset.ids, records).astype(np.int32)
    ask = make_teacher_fn(teacher, dataset, views, cache.codecs, cache.shapes)
    largest = dict.fromkeys(cache.codecs, 0.0)
    flips = 0
    for view, some in enumerate(np.array_split(ids, cache.num_views)):
        if not some.size:
            continue
        arrays, _ = ask(raw_batch(dataset, views, some, np.full(len(some), view, np.int32)))
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
                flips += int(np.sum(_best(new) != _best(old)))
    return SpotCheckResult(len(ids), largest, flips)


@dataclasses.dataclass(frozen=True)
class LogitStatistics:
    """What the logits of a cache are like.

    Attributes:
      records: how many were read, or how many tokens.
      mass: mean probability that is kept at temperature 1; 1 for dense logits.
      entropy: mean entropy in nats at temperature 1, of what is kept with the rest as one class.
      confidence: mean probability of the most probable class.
      accuracy: share of records whose most probable class is the label; None without labels.
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
      dataset: for labels; those of -1 do not count. Where every token has a label, tokens without
        one do not count at all.

    Returns:
      LogitStatistics.

    Raises:
      CacheError: it keeps no logits, or draws of them only; or a damaged file.
    """
    if "logits" not in cache.codecs:
        raise CacheError(f"the cache {cache.path} keeps {sorted(cache.codecs)}, no logits")
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


def _summary(logits: Any, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Sums of kept mass, entropy and largest probability, and the most probable classes.

    Args:
      logits: as decoded.
      where: bool, which rows of logits count; None for all.
    """
    if isinstance(logits, SparseLogits):
        if 1.0 not in logits.temperatures:
            raise CacheError(
                f"the tail is known at the temperatures {logits.temperatures}, not at 1"
            )
        tail = logits.tail[..., logits.temperatures.index(1.0), None]
        logs = jax.nn.log_softmax(jnp.concatenate([logits.logits, tail], axis=-1))
        kept = logs[..., :-1]
    elif hasattr(logits, "shape"):
        logs = kept = jax.nn.log_softmax(logits)
    else:
        raise CacheError(f"no statistics of {type(logits).__name__}: it holds draws only")
    p = jnp.exp(logs)
    entropy = -jnp.sum(jnp.where(p > 0, p * logs, 0), axis=-1)
    mass, confidence = jnp.sum(jnp.exp(kept), axis=-1), jnp.exp(kept.max(-1))
    rows = jnp.stack([mass, entropy, confidence]).reshape(3, -1)
    counted = rows if where is None else jnp.where(where.ravel(), rows, 0)
    return counted.sum(axis=1), _best(logits)


def _best(logits: Any) -> Any:
    if isinstance(logits, SparseLogits):
        place = jnp.argmax(logits.logits, axis=-1)[..., None]
        return jnp.take_along_axis(logits.indices, place, axis=-1)[..., 0]
    if hasattr(logits, "shape"):
        return jnp.argmax(logits, axis=-1)
    return jnp.zeros(0, jnp.int32)


def _values(decoded: Any) -> Any:
    """What may differ by rounding; ids of classes that tie may change places."""
    return (decoded.logits, decoded.tail) if isinstance(decoded, SparseLogits) else decoded
