"""What a codec is, and what all of them need."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

# Name → (shape of one record, dtype name).
Layout = dict[str, tuple[tuple[int, ...], str]]


class Codec(Protocol):
    """What a cache needs to know of a way of storing one output of a teacher.

    The output has any shape; classes or channels are its last axis. A codec of one's own has these
    methods, can be hashed, and is made again by `type(codec)(**parameters)` from the parameters of
    its `specification()`, in which tuples may have become lists. It may also have an attribute
    `compression`, the name of a Zarr 3 codec (`"zstd"`), if what it stores can be compressed.
    """

    def encode(
        self, values: jax.Array, *, labels: jax.Array | None = None, keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Values `[batch, ...]` to arrays `[batch, ...]`, by names without a dot.

        Pure, for use inside a compiled program, on one device or on a mesh.

        Args:
          values: the teacher's answers.
          labels: int `[batch]`, or one for each row of logits, -1 where unknown; given where
            `needs` has "labels".
          keys: typed PRNG keys `[batch]`; given where `needs` has "keys".
        """

    def decode(self, arrays: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
        """The stored arrays to what losses take as `teacher`.

        Args:
          arrays: as `encode` returned them.
          shape: of one answer, without the batch.
        """

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Name → (shape of one record, dtype name) of each stored array.

        Raises:
          ValueError: the codec does not fit answers of this shape.
        """

    def specification(self) -> dict[str, Any]:
        """The codec's name, that of its class, and parameters as plain data."""

    def invalid_rows(self, values: jax.Array) -> jax.Array:
        """Bool `[batch]`, the rows that would not be kept: not finite, or too large for the type.

        A logit of -inf is a legitimate mask of a class, and kept.
        """

    @property
    def description(self) -> str:
        """One sentence: what is exact, and what error the rest has."""

    @property
    def needs(self) -> frozenset[str]:
        """What `encode` wants beside the values: a subset of {"labels", "keys"}."""


def bytes_per_record(codec: Codec, shape: tuple[int, ...]) -> int:
    """Bytes that one answer takes before any compression.

    Args:
      codec: how it is kept.
      shape: of the answer, without the batch.

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
        math.prod(kept) * jnp.dtype(dtype).itemsize for kept, dtype in codec.layout(shape).values()
    )


def any_in_record(bad: jax.Array) -> jax.Array:
    """`[batch, ...]` to `[batch]`: where anything is true."""
    return jnp.any(bad, axis=tuple(range(1, bad.ndim)))


def invalid(values: jax.Array) -> jax.Array:
    """`[batch, ...]`, where there is neither a number nor the mask of a class."""
    return jnp.isnan(values) | jnp.isposinf(values)


def check_logits(codec: Codec, shape: tuple[int, ...]) -> int:
    """The number of classes of logits of this shape, or a ValueError if they cannot be any."""
    if not shape:
        raise ValueError(
            f"{codec} keeps logits [..., num_classes], the teacher's answer is one number"
        )
    return shape[-1]
