"""Divergence of a teacher's normal distributions from the student's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses.regression._values import as_gaussian, half_squared_scores


def gaussian_kl(
    student: tuple[ArrayLike, ArrayLike],
    teacher: tuple[ArrayLike, ArrayLike],
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes KL(teacher || student) of two normal distributions, for each value.

    With means m and log-variances v of student s and teacher t it is
    `(exp(v_t - v_s) - 1 - (v_t - v_s) + (m_t - m_s)**2 / exp(v_s)) / 2`: the student learns what
    the teacher predicts, and how sure it is of it.

    Args:
      student: mean and natural logarithm of the variance, two arrays of one shape, `[batch]`,
        `[batch, values]` or any other. Log-variances are clipped to [-30, 30]; beyond, the gradient
        is that at the bound.
      teacher: the same of the teacher, of that shape.
      where: boolean, of the shape of the values or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One divergence in nats for each value, of the shape of the mean, float32 at least.

    Raises:
      ValueError: arrays of different shapes, a mask that does not fit.
      TypeError: a side that is no pair.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = (jnp.zeros(2), jnp.zeros(2)), (jnp.array([0.0, 2.0]), jnp.zeros(2))
      >>> losses.gaussian_kl(student, teacher)
      Array([0., 2.], dtype=float32)

    References:
      Kullback and Leibler, On Information and Sufficiency, 1951.
    """
    of_student, mask = as_gaussian("student", student, where)
    of_teacher, _ = as_gaussian("teacher", teacher, where)
    if of_student.mean.shape != of_teacher.mean.shape:
        raise ValueError(
            f"student values of shape {of_student.mean.shape} and teacher values of shape "
            f"{of_teacher.mean.shape} must have the same shape"
        )
    mean, log_variance = jax.lax.stop_gradient(of_teacher)
    gap = log_variance - of_student.log_variance
    squares = half_squared_scores(mean - of_student.mean, of_student.log_variance)
    # expm1 keeps the digits of nearly equal variances.
    return keep_rows(0.5 * (jnp.expm1(gap) - gap) + squares, mask)
