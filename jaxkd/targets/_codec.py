"""The protocol of codecs, and what all of them need."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

# Name → (shape of one record, dtype name).
Layout = dict[str, tuple[tuple[int, ...], str]]


class Codec(Protocol):
    """A way of storing one output of a teacher, as a cache needs it.

    The output has any shape; classes or channels are its last axis. A codec of one's own has these
    methods, can be hashed, and is made again by `type(codec)(**parameters)` from the parameters of
    its `specification()`, in which tuples may have become lists. It may also have an attribute
    `compression`, the name of a Zarr 3 codec (`"zstd"`), if what it stores can be compressed.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd.targets import Dense
      >>> codec: Codec = Dense("float16")
      >>> arrays = codec.encode(jnp.ones((2, 10)))
      >>> {name: value.shape for name, value in arrays.items()}, codec.layout((10,)), codec.needs
      ({'values': (2, 10)}, {'values': ((10,), 'float16')}, frozenset())
    """

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Encodes values `[batch, ...]` as arrays `[batch, ...]`, by names without a dot.

        Pure, for use inside a compiled program, on one device or on a mesh.

        Args:
          values: the output of the teacher.
          labels: int `[batch]`, or one for each row of logits, -1 where unknown; given where
            `needs` has "labels".
          keys: typed PRNG keys `[batch]`; given where `needs` has "keys".

        Returns:
          Name → array, as `layout` describes them.
        """

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
        """Decodes the stored arrays to what losses take as `teacher`.

        Args:
          arrays: as `encode` returned them.
          shape: shape of the output for one example.

        Returns:
          An array, `SparseLogits` or `SampledClasses`, of the batch.
        """

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Returns name → (shape for one example, dtype name) of each stored array.

        Args:
          shape: shape of the output for one example.

        Raises:
          ValueError: the codec does not fit outputs of this shape.
        """

    def specification(self) -> dict[str, Any]:
        """Returns the codec's name, that of its class, and its parameters as plain data."""

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Returns the rows that cannot be stored, bool `[batch]`: not finite, or overflowing.

        A logit of -inf is a legitimate mask of a class, and is stored.

        Args:
          values: the output of the teacher `[batch, ...]`.
        """

    @property
    def description(self) -> str:
        """One sentence: what is exact, and the error of everything else."""

    @property
    def needs(self) -> frozenset[str]:
        """What `encode` needs beside the values: a subset of {"labels", "keys"}."""


def bytes_per_record(codec: Codec, shape: tuple[int, ...]) -> int:
    """Returns the bytes of one record before any compression.

    Args:
      codec: how the output is stored.
      shape: shape of the output for one example.

    Raises:
      ValueError: the codec does not fit the shape.

    Example:
      >>> from jaxkd.targets import Dense, TopK
      >>> bytes_per_record(Dense("float32"), (10,)), bytes_per_record(TopK(4), (1000,))
      (40, 20)
      >>> bytes_per_record(TopK(64), (128_256,))
      268
    """
    return sum(
        math.prod(stored) * jnp.dtype(dtype).itemsize
        for stored, dtype in codec.layout(shape).values()
    )


def any_in_record(bad: jax.Array) -> jax.Array:
    """Reduces `[batch, ...]` to `[batch]`: where anything is true."""
    return jnp.any(bad, axis=tuple(range(1, bad.ndim)))


def invalid(values: jax.Array) -> jax.Array:
    """Returns where there is neither a number nor the mask of a class, bool `[batch, ...]`."""
    return jnp.isnan(values) | jnp.isposinf(values)


def check_logits(codec: Codec, shape: tuple[int, ...]) -> int:
    """Returns the number of classes of logits of this shape.

    Args:
      codec: the codec, for the message.
      shape: shape of the logits for one example.

    Raises:
      ValueError: a shape without an axis of classes.
    """
    if not shape:
        raise ValueError(
            f"{codec} stores logits [..., num_classes], the teacher's output is one number"
        )
    return shape[-1]
