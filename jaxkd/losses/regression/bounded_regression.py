"""Regression of labels that stops where the student is better than its teacher."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import concrete_value
from jaxkd.losses._entries import paired_entries
from jaxkd.losses.regression._values import labeled_values


def bounded_regression(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    margin: ArrayLike = 0.0,
    axis: int | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the squared error of those values that are worse than the teacher's, 0 of others.

    The teacher is no target, but a bound: with errors `s` of the student and `t` of the teacher
    the loss is `s**2` where `s**2 + margin > t**2`. It stands beside a loss of the labels.

    Args:
      student: values `[batch]`, `[batch, values]` or of any other shape.
      teacher: values of the same shape.
      labels: floats of that shape, or `[...]` for values `[..., 1]`.
      margin: squared error by which the student must be better; not negative.
      axis: axis of vectors that are compared as a whole, -1 in the paper (four sides of a box);
        None compares each value by itself.
      where: boolean, of the shape of the values or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss for each value, of the shape of the student, float32 at least.

    Raises:
      ValueError: shapes that differ, labels that are integers, a negative margin, a mask that does
        not fit.
      TypeError: `SparseLogits` or `SampledClasses`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 5.0]), jnp.array([2.0, 2.0])
      >>> losses.bounded_regression(student, teacher, jnp.array([0.0, 0.0]))
      Array([ 0., 25.], dtype=float32)

    References:
      Chen et al., Learning Efficient Object Detection Models with Knowledge Distillation, NeurIPS
      2017.
    """
    value = concrete_value(margin)
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"margin must not be negative, got {value}")
    pair = paired_entries(student, teacher, where, what="values")
    labeled = labeled_values(student, labels, where)
    squares, bounds = (jnp.square(x - labeled.teacher) for x in (pair.student, pair.teacher))
    total, bound = (
        x if axis is None else jnp.sum(x, axis=axis, keepdims=True) for x in (squares, bounds)
    )
    return pair.finish(jnp.where(total + margin > bound, squares, 0))
