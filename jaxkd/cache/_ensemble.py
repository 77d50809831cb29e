"""Several teachers: caches of the same examples and views, read together."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache._cache import Cache
from jaxkd.data import Examples
from jaxkd.losses import SparseLogits
from jaxkd.targets import EncodedOutputs
from jaxkd.views import Views

_WAYS = ("probabilities", "logits", None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnsembleOutputs:
    """The answers of several teachers to a batch; a pytree.

    Attributes:
      records: teacher → its `EncodedOutputs`.
      weights: of the teachers, which add up to 1 (static).
      combine: how logits are made of theirs (static).
    """

    records: dict[str, EncodedOutputs]
    weights: tuple[tuple[str, float], ...] = dataclasses.field(metadata={"static": True})
    combine: str | None = dataclasses.field(metadata={"static": True})

    def decode(self) -> dict[str, Any]:
        """`<teacher>.<output>` for each, and the combined `logits`."""
        decoded = {name: record.decode() for name, record in self.records.items()}
        outputs = {f"{n}.{o}": value for n, named in decoded.items() for o, value in named.items()}
        if self.combine is None:
            return outputs
        parts = [(weight, decoded[name]["logits"]) for name, weight in self.weights]
        if self.combine == "logits":
            combined = sum(weight * logits for weight, logits in parts)
        else:
            logs = jnp.stack([jnp.log(w) + jax.nn.log_softmax(logits) for w, logits in parts])
            combined = jax.nn.logsumexp(logs, axis=0)
        return {**outputs, "logits": combined}


class EnsembleCache:
    """Reads several caches by the same ids and views, for distillation from an ensemble.

    A batch's teacher then has the outputs `<name>.logits` of each (give them to terms as
    `teacher="<name>.logits"`) and, combined, `logits`.

    Args:
      caches: name → cache, opened and checked with its own teacher.
      weights: name → weight, by default equal; they are divided by their sum.
      combine: `"probabilities"`: the logarithm of the mean of the teachers' probabilities at
        temperature 1; `"logits"`: the mean of their logits; None: no combined logits, as for caches
        that keep top-k logits, of which there is no mean.

    Raises:
      ValueError: no caches, weights that are not positive or of other names, a way of combining
        that there is not or that the codecs do not allow, teachers of different classes.
    """

    def __init__(
        self,
        caches: Mapping[str, Cache],
        *,
        weights: Mapping[str, float] | None = None,
        combine: str | None = "probabilities",
    ):
        if not caches:
            raise ValueError("nothing to join: name at least one cache")
        if combine not in _WAYS:
            raise ValueError(f"combine must be one of {_WAYS}, not {combine!r}")
        weights = dict.fromkeys(caches, 1.0) if weights is None else weights
        if set(weights) != set(caches) or not all(w > 0 for w in weights.values()):
            raise ValueError(
                f"weights must be positive and one for each of {sorted(caches)}, not {weights}"
            )
        if combine is not None:
            _check_dense(caches, combine)
            classes = {name: cache.num_classes for name, cache in caches.items()}
            if len(set(classes.values())) > 1:
                raise ValueError(f"logits of different classes cannot be combined: {classes}")
        total = sum(weights.values())
        self._caches, self._combine = dict(caches), combine
        self._weights = tuple((name, float(weights[name]) / total) for name in caches)
        self.num_views = min(cache.num_views for cache in caches.values())
        self.in_memory = all(cache.in_memory for cache in caches.values())

    def check(self, *, dataset: Examples, views: Views, num_views: int | None = None) -> None:
        """Checks every cache; see `Cache.check`.

        Raises:
          CacheError: naming each field that differs.
        """
        for cache in self._caches.values():
            cache.check(dataset=dataset, views=views, num_views=num_views)

    def read(self, ids: np.ndarray, view: int) -> EnsembleOutputs:
        """The answers of all teachers; see `Cache.read`.

        Raises:
          CacheError: an id or view that one of them does not have.
        """
        records = {name: cache.read(ids, view) for name, cache in self._caches.items()}
        return EnsembleOutputs(records, self._weights, self._combine)


def _check_dense(caches: Mapping[str, Cache], combine: str) -> None:
    for name, cache in caches.items():
        if "logits" not in cache.codecs:
            raise ValueError(f"{name} keeps {sorted(cache.codecs)}, no logits to combine")
        record = cache.read(cache.ids[:1], 0)
        decoded = jax.eval_shape(lambda r: r.decode(), record)["logits"]
        if not hasattr(decoded, "shape") or isinstance(decoded, SparseLogits):
            raise ValueError(
                f"{name} keeps {cache.codecs['logits']}, of which there is no mean: combine=None "
                f"instead of {combine!r}, and one term for each teacher"
            )
