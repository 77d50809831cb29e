"""Squared differences to labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses.regression._values import labeled_values


def squared_error(
    student: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    """Computes the squared difference of each value and its label, without a factor 1/2.

    Labels are constants: no gradient flows to them.

    Args:
      student: values `[batch]`, `[batch, values]` or of any other shape.
      labels: floats of that shape, or `[...]` for values `[..., 1]`.
      where: boolean, of the shape of the values or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss for each value, of the shape of the student, float32 at least.

    Raises:
      ValueError: labels of another shape, or integers, which are classes; a mask that does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.squared_error(jnp.array([1.0, 2.0]), jnp.array([3.0, 2.5]))
      Array([4.  , 0.25], dtype=float32)
    """
    pair = labeled_values(student, labels, where)
    return pair.finish(jnp.square(pair.student - pair.teacher))
