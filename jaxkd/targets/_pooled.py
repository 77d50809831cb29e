"""Feature maps, averaged to a smaller size."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxkd.ops import adaptive_average_pool
from jaxkd.targets._codec import Layout
from jaxkd.targets._dense import Dense


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Feature maps `[height, width, channels]`, averaged over bins to a smaller size.

    For losses that compare maps at such a size anyway; the student's are pooled alike, by
    `jaxkd.ops.adaptive_average_pool`.

    Attributes:
      size: `(height, width)` of the stored maps.
      dtype: type of the stored numbers, as of `Dense`; with `"int8"`, the channels of one position
        share a scale.

    Raises:
      ValueError: a size that is not positive, another dtype.

    Example:
      >>> codec = Pooled((2, 2))
      >>> codec.layout((8, 8, 64))
      {'values': ((2, 2, 64), 'float16')}
    """

    size: tuple[int, int]
    dtype: str = "float16"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self):
        size = tuple(int(length) for length in self.size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size must be (height, width), both at least 1, not {self.size}")
        object.__setattr__(self, "size", size)
        Dense(self.dtype)

    @property
    def description(self) -> str:
        """What is exact, and the error of everything else."""
        height, width = self.size
        return f"of the means over {height} × {width} bins, {Dense(self.dtype).description}"

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Pools maps `[batch, height, width, channels]` and rounds them.

        Args:
          values: the output of the teacher.
          labels: not used.
          keys: not used.

        Returns:
          The pooled maps as `Dense` encodes them.
        """
        del labels, keys
        return Dense(self.dtype).encode(self._pool(values))

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
        """Returns the smaller maps, float32 `[batch, *size, channels]`.

        Args:
          arrays: as `encode` returned them.
          shape: shape of the output for one example.
        """
        return Dense(self.dtype).decode(arrays, self._pooled(shape))

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Returns the layout of `Dense` for the smaller map.

        Args:
          shape: shape of the output for one example.
        """
        return Dense(self.dtype).layout(self._pooled(shape))

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Returns rows with not-a-number, +inf, or means that overflow the type, bool `[batch]`.

        Args:
          values: the output of the teacher `[batch, ...]`.
        """
        return Dense(self.dtype).invalid_rows(self._pool(values))

    def specification(self) -> dict[str, Any]:
        """Returns name and parameters."""
        return {"name": "Pooled", **dataclasses.asdict(self)}

    def _pool(self, values: jax.Array) -> jax.Array:
        self._pooled(values.shape[1:])
        return adaptive_average_pool(values.astype(jnp.float32), self.size)

    def _pooled(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 3 or shape[0] < self.size[0] or shape[1] < self.size[1]:
            raise ValueError(
                f"Pooled averages maps [height, width, channels] of at least {self.size} to that "
                f"size, the teacher's output has the shape {shape}"
            )
        return (*self.size, shape[2])
