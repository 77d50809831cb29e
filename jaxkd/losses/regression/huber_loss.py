"""Huber's loss with labels."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses.regression._values import huber, labeled_values


def huber_loss(
    student: ArrayLike,
    labels: ArrayLike,
    *,
    delta: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes Huber's loss of each value: half the squared difference up to delta, then a line.

    Labels far from all others pull no harder than those at the distance delta. Labels are
    constants: no gradient flows to them.

    Args:
      student: values `[batch]`, `[batch, values]` or of any other shape.
      labels: floats of that shape, or `[...]` for values `[..., 1]`.
      delta: difference from which on the loss is linear, of that slope; positive.
      where: boolean, of the shape of the values or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss for each value, of the shape of the student, float32 at least.

    Raises:
      ValueError: labels of another shape, or integers, which are classes; a delta that is not
        positive; a mask that does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.huber_loss(jnp.array([1.0, 2.0]), jnp.array([4.0, 2.5]))
      Array([2.5  , 0.125], dtype=float32)

    References:
      Huber, Robust Estimation of a Location Parameter, 1964.
    """
    check_positive("delta", delta)
    pair = labeled_values(student, labels, where)
    return pair.finish(huber(pair.student - pair.teacher, delta))
