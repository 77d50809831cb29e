"""Helpers of losses that take the features of several layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import flat, mask_rows


def checked_attention(
    attention: ArrayLike, shape: tuple[int, int, int], rows: jax.Array | None
) -> jax.Array:
    """Returns the attention, 0 for examples that do not count; ValueError for another shape."""
    attention = jnp.asarray(attention)
    if attention.shape != shape:
        raise ValueError(
            f"attention must have the shape {shape} of batch and layers, got {attention.shape}"
        )
    return mask_rows(attention, rows)


def weighted_sum(weights: jax.Array, distances: list[jax.Array]) -> jax.Array:
    """Returns the weighted sum over pairs of layers, with distances in the order of the weights."""
    return jnp.sum(flat(weights) * jnp.stack(distances, axis=1), axis=1)


def check_tuple(name: str, parts: Sequence[Any], what: str, count: int | None = None) -> None:
    """Checks that `parts` is a tuple or list, of `count` elements or not empty.

    Args:
      name: name of the argument.
      parts: value of the argument.
      what: description of the elements.
      count: number of elements; None for one or more.

    Raises:
      ValueError: it is something else.
    """
    if not isinstance(parts, tuple | list):
        raise ValueError(f"{name} must be a tuple of {what}, got {type(parts).__name__}")
    if not parts or count not in (None, len(parts)):
        raise ValueError(f"{name} must be a tuple of {what}, got {len(parts)} elements")
