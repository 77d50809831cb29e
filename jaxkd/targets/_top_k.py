"""The k most probable classes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses import SparseLogits
from jaxkd.targets import _truncated
from jaxkd.targets._codec import Layout, any_in_record, check_logits, invalid


@dataclasses.dataclass(frozen=True)
class TopK:
    """The k largest logits, and the exact mass of the others at each declared temperature.

    The mass outside of the top k at a temperature other than 1 cannot be recovered from logits at
    temperature 1, so it is stored, as a float32 log-sum-exp of the classes left out, for each
    temperature that training will use; any other temperature is refused. Divergences on the
    decoded `SparseLogits` run on k + 1 buckets.

    A class id takes one byte up to 256 classes, two up to 65,536, and as many bits as are needed
    beyond.

    Attributes:
      k: number of classes stored.
      temperatures: temperatures at which the tail is exact.
      values: type of the stored logits, relative to the largest: `"float32"`, `"float16"`, or
        `"int8"`, one byte each and the range that they span.
      label: whether the label's class is always stored, in place of the least probable of the k
        where it is not among them, so that its probability is known.

    Raises:
      ValueError: k below 1, temperatures that are not positive, another type.

    Example:
      >>> import jax.numpy as jnp
      >>> codec = TopK(2, temperatures=(1.0, 4.0))
      >>> arrays = codec.encode(jnp.array([[0.0, 3.0, 1.0, 2.0]]))
      >>> codec.decode(arrays, (4,)).indices
      Array([[1, 3]], dtype=int32)
    """

    k: int
    temperatures: tuple[float, ...] = (1.0,)
    values: str = "float16"
    label: bool = False

    def __post_init__(self):
        found = _truncated.check_parameters(self.temperatures, self.values)
        object.__setattr__(self, "temperatures", found)
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")

    @property
    def needs(self) -> frozenset[str]:
        """The labels, if the label's class is always stored."""
        return frozenset({"labels"} if self.label else ())

    @property
    def description(self) -> str:
        """What is exact, and the error of everything else."""
        classes = f"the {self.k} most probable classes"
        if self.label:
            classes += ", the label's always among them"
        return f"{classes}, {_truncated.description(self.temperatures, self.values)}"

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns ids, logits relative to the largest, and tails.

        Args:
          values: logits `[batch, ..., num_classes]`.
          labels: int, one for each row of logits, -1 where unknown; with `label=True`.
          keys: not used.

        Raises:
          ValueError: fewer classes than k, labels that are missing or of another shape.
        """
        del keys
        self.layout(values.shape[1:])
        logits = values.astype(jnp.float32)
        _, indices = jax.lax.top_k(logits, self.k)
        if self.label:
            indices = self._with_label(indices, labels, logits.shape)
        return _truncated.encode(logits, indices, self.temperatures, self.values)

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> SparseLogits:
        """Returns `SparseLogits`, float32.

        Args:
          arrays: as `encode` returned them.
          shape: shape of the logits for one example.
        """
        return _truncated.decode(arrays, self.k, self.temperatures, self.values, shape)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Returns the layout: `k` ids and logits, and one tail for each temperature, a row.

        Args:
          shape: shape of the logits for one example.

        Raises:
          ValueError: fewer classes than k.
        """
        if self.k > check_logits(self, shape):
            raise ValueError(f"TopK keeps k={self.k} classes, the teacher has {shape[-1]}")
        return _truncated.layout(self.k, self.temperatures, self.values, shape)

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Returns rows with not-a-number, +inf, no class, or a stored logit that overflows.

        Args:
          values: logits `[batch, ..., num_classes]`.

        Returns:
          Bool `[batch]`.
        """
        bad = jnp.any(invalid(values), axis=-1) | jnp.all(jnp.isneginf(values), axis=-1)
        bad |= _truncated.overflows(values, self.k, self.values)
        return any_in_record(bad)

    def specification(self) -> dict[str, Any]:
        """Returns name and parameters."""
        return {"name": "TopK", **dataclasses.asdict(self)}

    def _with_label(
        self, indices: jax.Array, labels: jax.Array | None, shape: tuple[int, ...]
    ) -> jax.Array:
        if labels is None or labels.shape != shape[:-1]:
            raise ValueError(
                f"{self} keeps the label's class: logits of shape {shape} need labels of shape "
                f"{shape[:-1]}, got {None if labels is None else labels.shape}"
            )
        label = labels.astype(indices.dtype)[..., None]
        is_class = (label >= 0) & (label < shape[-1])
        there = jnp.any(indices == label, axis=-1, keepdims=True) | ~is_class
        last = jnp.where(there, indices[..., -1:], label)
        return jnp.concatenate([indices[..., :-1], last], axis=-1)
