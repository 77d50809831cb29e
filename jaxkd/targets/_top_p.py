"""As many classes as it takes to hold a share of the probability."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxkd.losses import SparseLogits
from jaxkd.targets import _truncated
from jaxkd.targets._codec import Layout, any_in_record, check_logits, invalid


@dataclasses.dataclass(frozen=True)
class TopP:
    """The fewest classes whose mass at temperature 1 is at least p, with `TopK`'s exact tail.

    Where the teacher is confident, one class is stored; where it is not, up to `cap`. A record has
    room for `cap` classes; positions that are not used repeat one value, which the cache
    compresses.

    Attributes:
      p: mass of the stored classes, in (0, 1].
      cap: the largest number of stored classes.
      temperatures: temperatures at which the tail is exact.
      values: type of the stored logits, relative to the largest: `"float32"`, `"float16"`, or
        `"int8"`, one byte each and the range that they span.

    Raises:
      ValueError: p outside (0, 1], a cap below 1, temperatures that are not positive, another type.

    Example:
      >>> import jax.numpy as jnp
      >>> codec = TopP(0.9, cap=3)
      >>> arrays = codec.encode(jnp.log(jnp.array([[0.5, 0.05, 0.45], [0.02, 0.95, 0.03]])))
      >>> codec.decode(arrays, (3,)).indices
      Array([[0, 2, 3],
             [1, 3, 3]], dtype=int32)
    """

    p: float
    cap: int
    temperatures: tuple[float, ...] = (1.0,)
    values: str = "float16"
    needs: ClassVar[frozenset[str]] = frozenset()
    compression: ClassVar[str] = "zstd"

    def __post_init__(self):
        found = _truncated.check_parameters(self.temperatures, self.values)
        object.__setattr__(self, "temperatures", found)
        if not 0 < self.p <= 1:
            raise ValueError(f"p must lie in (0, 1], not {self.p}")
        if self.cap < 1:
            raise ValueError(f"cap must be at least 1, not {self.cap}")

    @property
    def description(self) -> str:
        """What is exact, and the error of everything else."""
        return (
            f"the fewest classes of mass {self.p:g} at temperature 1, at most {self.cap}, "
            f"{_truncated.description(self.temperatures, self.values)}"
        )

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns ids, logits relative to the largest, and tails.

        Args:
          values: logits `[batch, ..., num_classes]`.
          labels: not used.
          keys: not used.

        Raises:
          ValueError: fewer classes than `cap`.
        """
        del labels, keys
        self.layout(values.shape[1:])
        logits = values.astype(jnp.float32)
        # Shifted first: a log-sum-exp of large logits would round the masses.
        logits = logits - jnp.max(logits, axis=-1, keepdims=True)
        largest, indices = jax.lax.top_k(logits, self.cap)
        mass = jnp.exp(largest - jax.nn.logsumexp(logits, axis=-1, keepdims=True))
        # The mass of the more probable classes: 0 for the first one, which is thus always stored.
        before = jnp.cumsum(mass, axis=-1) - mass
        wanted = (before < self.p) & (mass > 0)
        indices = jnp.where(wanted, indices, logits.shape[-1])
        return _truncated.encode(logits, indices, self.temperatures, self.values)

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> SparseLogits:
        """Returns `SparseLogits`, float32, with the index `num_classes` in empty positions.

        Args:
          arrays: as `encode` returned them.
          shape: shape of the logits for one example.
        """
        sparse = _truncated.decode(arrays, self.cap, self.temperatures, self.values, shape)
        # A stored class has positive probability, so that its logit is finite.
        indices = jnp.where(jnp.isneginf(sparse.logits), sparse.num_classes, sparse.indices)
        return dataclasses.replace(sparse, indices=indices)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Returns the layout: `cap` ids and logits, and one tail for each temperature, a row.

        Args:
          shape: shape of the logits for one example.

        Raises:
          ValueError: fewer classes than `cap`.
        """
        if self.cap > check_logits(self, shape):
            raise ValueError(
                f"TopP keeps up to cap={self.cap} classes, the teacher has {shape[-1]}"
            )
        return _truncated.layout(self.cap, self.temperatures, self.values, shape)

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Returns rows with not-a-number, +inf, or no class at all, bool `[batch]`.

        Args:
          values: logits `[batch, ..., num_classes]`.
        """
        bad = jnp.any(invalid(values), axis=-1) | jnp.all(jnp.isneginf(values), axis=-1)
        return any_in_record(bad)

    def specification(self) -> dict[str, Any]:
        """Returns name and parameters."""
        return {"name": "TopP", **dataclasses.asdict(self)}
