"""Regression of a teacher's values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses._entries import paired_entries
from jaxkd.losses.regression._values import huber


def regression_kd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    delta: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the squared difference of each value and the teacher's, or Huber's loss of it.

    `logit_mse` and `feature_mse` are means over the last axes, one number an example; here values
    count one by one, as labels do.

    Args:
      student: values `[batch]`, `[batch, values]` or of any other shape.
      teacher: values of the same shape.
      delta: difference from which on the loss is linear, as of `huber_loss`; None for the square.
      where: boolean, of the shape of the values or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss for each value, of the shape of the student, float32 at least.

    Raises:
      ValueError: shapes that differ, a delta that is not positive, a mask that does not fit.
      TypeError: `SparseLogits` or `SampledClasses`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[1.0, 2.0]]), jnp.array([[4.0, 2.5]])
      >>> losses.regression_kd(student, teacher)
      Array([[9.  , 0.25]], dtype=float32)
      >>> losses.regression_kd(student, teacher, delta=1.0)
      Array([[2.5  , 0.125]], dtype=float32)

    References:
      Ba and Caruana, Do Deep Nets Really Need to be Deep?, 2014 (of logits); Huber, Robust
      Estimation of a Location Parameter, 1964.
    """
    pair = paired_entries(student, teacher, where, what="values")
    difference = pair.student - pair.teacher
    if delta is None:
        return pair.finish(jnp.square(difference))
    check_positive("delta", delta)
    return pair.finish(huber(difference, delta))
