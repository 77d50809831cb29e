"""All values of an output, in fewer bits."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

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
      dtype: type of the stored numbers: `"float32"` (exact), `"bfloat16"` (relative error 2^-8, any
        range), `"float16"` (2^-11, up to 65,504) or `"int8"` (1/254 of the largest value of a row).

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
        """What is exact, and the error of everything else."""
        return _ERRORS[self.dtype]

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Rounds values `[batch, ...]` to the type.

        Args:
          values: the output of the teacher.
          labels: not used.
          keys: not used.

        Returns:
          `values` `[batch, ...]`; as int8 with the `scale` of each vector along the last axis.
        """
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
        """Returns the values, float32 `[batch, *shape]`.

        Args:
          arrays: as `encode` returned them.
          shape: shape of the output for one example.
        """
        del shape
        values = jnp.asarray(arrays["values"]).astype(jnp.float32)
        if self.dtype != "int8":
            return values
        finite = values * jnp.asarray(arrays["scale"])[..., None]
        return jnp.where(values == _MASKED, -jnp.inf, finite)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Returns the layout: all numbers of the output, and for int8 a scale for each row.

        Args:
          shape: shape of the output for one example.

        Raises:
          ValueError: int8 of an output that is one number.
        """
        if self.dtype != "int8":
            return {"values": (shape, self.dtype)}
        if not shape:
            raise ValueError("Dense('int8') has a scale for each row, the output is one number")
        return {"values": (shape, "int8"), "scale": (shape[:-1], "float32")}

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Returns rows with not-a-number, +inf, or finite values that overflow, bool `[batch]`.

        Args:
          values: the output of the teacher `[batch, ...]`.
        """
        values = jnp.asarray(values)
        bad = invalid(values)
        if self.dtype != "int8":
            bad |= jnp.isfinite(values) & ~jnp.isfinite(values.astype(self.dtype))
        return any_in_record(bad)

    def specification(self) -> dict[str, Any]:
        """Returns name and parameters."""
        return {"name": "Dense", **dataclasses.asdict(self)}
