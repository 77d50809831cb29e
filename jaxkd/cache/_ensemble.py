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

_COMBINATIONS = ("probabilities", "logits", None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnsembleOutputs:
    """Encoded outputs of several teachers for a batch; a pytree.

    Attributes:
      members: teacher → its encoded outputs.
      weights: (teacher, weight) of those that are combined, with a sum of 1 (static).
      combine: how their logits are combined (static).

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> both = jaxkd.cache.EnsembleCache({"one": cache, "two": cache})
      >>> sorted(both.read(np.array([0]), view=0).decode())
      ['logits', 'one.logits', 'two.logits']
    """

    members: dict[str, EncodedOutputs]
    weights: tuple[tuple[str, float], ...] = dataclasses.field(metadata={"static": True})
    combine: str | None = dataclasses.field(metadata={"static": True})

    def decode(self) -> dict[str, Any]:
        """Returns `<teacher>.<output>` of each teacher, and the combined `logits`."""
        decoded = {name: outputs.decode() for name, outputs in self.members.items()}
        outputs = {f"{n}.{o}": value for n, named in decoded.items() for o, value in named.items()}
        if self.combine is None:
            return outputs
        members = [(weight, decoded[name]["logits"]) for name, weight in self.weights]
        if self.combine == "logits":
            combined = sum(weight * logits for weight, logits in members)
        else:
            logs = jnp.stack([jnp.log(w) + jax.nn.log_softmax(logits) for w, logits in members])
            combined = jax.nn.logsumexp(logs, axis=0)
        return {**outputs, "logits": combined}


class EnsembleCache:
    """Reads several caches by the same ids and views, for distillation from an ensemble.

    A batch's teacher then has the outputs `<name>.logits` of each (give them to terms as
    `teacher="<name>.logits"`) and, combined, `logits`.

    Args:
      caches: name → cache, opened and checked with its own teacher.
      weights: name → weight, by default equal; they are divided by their sum.
      combine: how logits are combined. `"probabilities"`: the logarithm of the mean of the
        teachers' probabilities at temperature 1; `"logits"`: the mean of their logits; None: no
        combined logits, as for caches that keep top-k logits, of which there is no mean.

    Raises:
      ValueError: no caches, weights that are not positive or of other names, another way of
        combining or one that the codecs do not allow, teachers of different classes.

    Attributes:
      caches: name → cache.
      dataset: the examples that the first cache was opened with.
      views: how they are rendered.
      num_views: number of views that all caches have.
      in_memory: whether all caches are read into memory.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> other = jaxkd.from_function(lambda params, inputs: inputs @ params, 3 * jnp.eye(4, 3))
      >>> caches = {
      ...     name: jaxkd.cache.build(tempfile.mkdtemp(), network, data, progress=False)
      ...     for name, network in {"one": teacher, "two": other}.items()}
      >>> both = EnsembleCache(caches, combine="logits")
      >>> both.read(np.array([0]), view=0).decode()["logits"]
      Array([[2., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        caches: Mapping[str, Cache],
        *,
        weights: Mapping[str, float] | None = None,
        combine: str | None = "probabilities",
    ):
        if not caches:
            raise ValueError("no caches to read together: name at least one")
        if combine not in _COMBINATIONS:
            raise ValueError(f"combine must be one of {_COMBINATIONS}, not {combine!r}")
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
            _check_class_names(caches)
        total = sum(weights.values())
        self.caches, self._combine = dict(caches), combine
        self._weights = tuple((name, float(weights[name]) / total) for name in caches)
        first = next(iter(caches.values()))
        self.dataset, self.views = first.dataset, first.views
        self.num_views = min(cache.num_views for cache in caches.values())
        self.in_memory = all(cache.in_memory for cache in caches.values())

    def check(self, *, dataset: Examples, views: Views, num_views: int | None = None) -> None:
        """Checks every cache; see `Cache.check`.

        Args:
          dataset: the examples.
          views: how they are rendered.
          num_views: number of views that will be read.

        Raises:
          CacheError: each field that differs.
        """
        for cache in self.caches.values():
            cache.check(dataset=dataset, views=views, num_views=num_views)

    def read(self, ids: np.ndarray, view: int) -> EnsembleOutputs:
        """Reads the outputs of all teachers; see `Cache.read`.

        Args:
          ids: example ids `[batch]`.
          view: number of the view.

        Returns:
          Encoded outputs of all of them.

        Raises:
          CacheError: an id or view that one of them does not have.
        """
        members = {name: cache.read(ids, view) for name, cache in self.caches.items()}
        return EnsembleOutputs(members, self._weights, self._combine)


def _check_class_names(caches: Mapping[str, Cache]) -> None:
    """Refuses caches whose classes have names in another order; one without names fits all."""
    names = {name: cache.contract.get("dataset.class_names") for name, cache in caches.items()}
    named = {name: order for name, order in names.items() if order}
    if any(order != next(iter(named.values())) for order in named.values()):
        raise ValueError(f"logits of classes in another order cannot be combined: {named}")


def _check_dense(caches: Mapping[str, Cache], combine: str) -> None:
    for name, cache in caches.items():
        if "logits" not in cache.codecs:
            raise ValueError(f"{name} stores {sorted(cache.codecs)}, no logits to combine")
        outputs = cache.read(cache.ids[:1], 0)
        decoded = jax.eval_shape(lambda encoded: encoded.decode(), outputs)["logits"]
        if not hasattr(decoded, "shape") or isinstance(decoded, SparseLogits):
            raise ValueError(
                f"{name} stores {cache.codecs['logits']}, of which there is no mean: combine=None "
                f"instead of {combine!r}, and one term for each teacher"
            )
