"""Checks for losses that take several arrays a side, or compare channels of different maps."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses._logit_pairs import Paired


def check_several(name: str, parts: Sequence[Any], what: str, count: int | None = None) -> None:
    """Raises ValueError unless `parts` is a tuple or list, of `count` elements or of any but none.

    Args:
      name: of the argument.
      parts: the argument.
      what: the elements, in words.
      count: how many there must be; None for one and more.
    """
    if not isinstance(parts, tuple | list):
        raise ValueError(f"{name} must be a tuple of {what}, got {type(parts).__name__}")
    if not parts or count not in (None, len(parts)):
        raise ValueError(f"{name} must be a tuple of {what}, got {len(parts)} elements")


def check_same_channels(pair: Paired) -> None:
    """Raises ValueError unless the last axes of both sides are equal."""
    if pair.student.shape[-1] != pair.teacher.shape[-1]:
        raise ValueError(
            f"features must have the same number of channels, got student {pair.student.shape} and "
            f"teacher {pair.teacher.shape}: put a connector on the student that maps its channels "
            "to the teacher's"
        )


def pooled(features: jax.Array) -> jax.Array:
    """Features `[batch, ..., channels]` averaged over what lies between: `[batch, channels]`."""
    return jnp.mean(features, axis=tuple(range(1, features.ndim - 1)))
