"""All values, in fewer bits; feature maps averaged to a smaller size."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxkd.ops import adaptive_average_pool
from jaxkd.targets._codec import Layout, any_in_record, invalid

_ERRORS = {
    "float32": "every value exactly",
    "bfloat16": "every value to a relative error of 2^-8, of any range",
    "float16": "every value to a relative error of 2^-11, or of 3e-8 below 6.1e-5, up to 65,504",
    "int8": "every value to 1/254 of the largest in size along the last axis",
}
_MASKED = -128


@dataclasses.dataclass(frozen=True)
class Dense:
    """All values of an output, in a type of choice: logits, embeddings, hidden states, maps.

    `"int8"` keeps multiples of a float32 scale for each row along the last axis, from -127 to 127
    times; -128 is a logit of -inf.

    Attributes:
      dtype: `"float32"` (exact), `"bfloat16"` (relative error 2^-8, any range), `"float16"` (2^-11,
        up to 65,504) or `"int8"` (1/254 of the largest value of a row).

    Raises:
      ValueError: another dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> codec, logits = Dense("int8"), jnp.array([[1.27, -0.5, -jnp.inf]])
      >>> arrays = codec.encode(logits)
      >>> arrays["values"]
      Array([[ 127,  -50, -128]], dtype=int8)
      >>> codec.decode(arrays, (3,))
      Array([[ 1.27, -0.5 ,  -inf]], dtype=float32)
    """

    dtype: str = "float32"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self):
        if self.dtype not in _ERRORS:
            raise ValueError(f"dtype must be one of {', '.join(_ERRORS)}, not {self.dtype!r}")

    @property
    def description(self) -> str:
        """What is exact, and what error the rest has."""
        return _ERRORS[self.dtype]

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Rounds values `[batch, ...]` to the type."""
        del labels, keys
        self.layout(values.shape[1:])
        if self.dtype != "int8":
            return {"values": values.astype(self.dtype)}
        values = values.astype(jnp.float32)
        masked = jnp.isneginf(values)
        finite = jnp.where(masked, 0, values)
        scale = jnp.max(jnp.abs(finite), axis=-1) / 127
        codes = jnp.round(finite / jnp.where(scale > 0, scale, 1)[..., None])
        codes = jnp.where(masked, _MASKED, jnp.clip(codes, -127, 127))
        return {"values": codes.astype(jnp.int8), "scale": scale}

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
        """Values float32 `[batch, *shape]`."""
        del shape
        values = jnp.asarray(arrays["values"]).astype(jnp.float32)
        if self.dtype != "int8":
            return values
        finite = values * jnp.asarray(arrays["scale"])[..., None]
        return jnp.where(values == _MASKED, -jnp.inf, finite)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """As many numbers as the answer has, and for int8 a scale for each row."""
        if self.dtype != "int8":
            return {"values": (shape, self.dtype)}
        if not shape:
            raise ValueError("Dense('int8') has a scale for each row, the answer is one number")
        return {"values": (shape, "int8"), "scale": (shape[:-1], "float32")}

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Bool `[batch]`: not-a-number, +inf, or finite values that overflow the type."""
        values = jnp.asarray(values)
        bad = invalid(values)
        if self.dtype != "int8":
            bad |= jnp.isfinite(values) & ~jnp.isfinite(values.astype(self.dtype))
        return any_in_record(bad)

    def specification(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": "Dense", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Feature maps `[height, width, channels]`, averaged over bins to a smaller size.

    For losses that compare maps at such a size anyway; the student's are pooled alike, by
    `jaxkd.ops.adaptive_average_pool`.

    Attributes:
      size: `(height, width)` of what is kept.
      dtype: as of `Dense`; the scale of `"int8"` is that of one place's channels.

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
        """What is exact, and what error the rest has."""
        height, width = self.size
        return f"of the means over {height} × {width} bins, {Dense(self.dtype).description}"

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Pools maps `[batch, height, width, channels]` and rounds them."""
        del labels, keys
        return Dense(self.dtype).encode(self._pool(values))

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> jax.Array:
        """Maps float32 `[batch, *size, channels]`."""
        return Dense(self.dtype).decode(arrays, self._pooled(shape))

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """That of `Dense` for the smaller map."""
        return Dense(self.dtype).layout(self._pooled(shape))

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Bool `[batch]`: not-a-number, +inf, or means that overflow the type."""
        return Dense(self.dtype).invalid_rows(self._pool(values))

    def specification(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": "Pooled", **dataclasses.asdict(self)}

    def _pool(self, values: jax.Array) -> jax.Array:
        self._pooled(values.shape[1:])
        return adaptive_average_pool(values.astype(jnp.float32), self.size)

    def _pooled(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 3 or shape[0] < self.size[0] or shape[1] < self.size[1]:
            raise ValueError(
                f"Pooled averages maps [height, width, channels] of at least {self.size} to that "
                f"size, the teacher's answer has the shape {shape}"
            )
        return (*self.size, shape[2])
