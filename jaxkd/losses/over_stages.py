"""The sum of one loss over several stages of the networks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax


def over_stages(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes a loss on several stages, the sum of a loss over pairs of outputs.

    Args:
      loss: loss on one output of the student and one of the teacher.

    Returns:
      A loss on tuples of outputs, which must be equally long; its other arguments are passed to
      every call.

    Raises:
      ValueError: when called, tuples that are empty or of different lengths.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> maps = jnp.ones((2, 4, 4, 3)), jnp.ones((2, 2, 2, 5))
      >>> zeros = jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 2, 2, 5))
      >>> losses.over_stages(losses.feature_mse)(maps, zeros)
      Array([2., 2.], dtype=float32)
    """

    @functools.wraps(loss)
    def summed(
        student: Sequence[Any], teacher: Sequence[Any], *arguments: Any, **keywords: Any
    ) -> jax.Array:
        if not isinstance(student, tuple | list) or len(student) != len(teacher) or not student:
            raise ValueError(
                f"student and teacher must be tuples of equally many outputs, got "
                f"{_count(student)} of the student and {_count(teacher)} of the teacher"
            )
        first, *others = (
            loss(*pair, *arguments, **keywords) for pair in zip(student, teacher, strict=True)
        )
        return sum(others, start=first)

    return summed


def _count(outputs: Any) -> str:
    return str(len(outputs)) if isinstance(outputs, tuple | list) else "one array"
