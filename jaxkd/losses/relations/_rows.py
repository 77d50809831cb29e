"""The first step of every relation: the whole batch as rows, and which rows take part."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import flat, gathered, mask_rows, paired_features


class Rows(NamedTuple):
    """Both sides of a relation, on every device.

    Attributes:
      student: `[batch, width]`, float32 at least; rows that take no part are 0.
      teacher: `[batch, teacher_width]`, a constant unless it is learned.
      selected: `[batch]`, True for the rows that take part.
      number: number of rows that take part, a scalar of the same dtype; 1 if there is none, so that
        it may divide.
    """

    student: jax.Array
    teacher: jax.Array
    selected: jax.Array
    number: jax.Array

    @property
    def pairs(self) -> jax.Array:
        """`[batch, batch]`, True where both rows take part."""
        return self.selected[:, None] & self.selected


def paired_rows(
    student: ArrayLike,
    teacher: ArrayLike,
    where: ArrayLike | None,
    *,
    same_width: bool = False,
    learned_teacher: bool = False,
) -> Rows:
    """Gathers features `[batch, ...]` as rows of the whole batch.

    Args:
      student: `[batch, ...]`.
      teacher: `[batch, ...]`; unless `same_width`, only the batch sizes must agree.
      where: boolean `[batch]`, or None.
      same_width: whether the shapes must be equal.
      learned_teacher: whether the teacher receives a gradient.

    Returns:
      The rows of both sides, the same on every device.

    Raises:
      TypeError: `SparseLogits`.
      ValueError: shapes or a mask that do not fit.
    """
    pair = paired_features(
        student, teacher, where, same_shape=same_width, learned_teacher=learned_teacher
    )
    student, teacher = (flat(gathered(side)) for side in (pair.student, pair.teacher))
    selected = jnp.ones(student.shape[:1], bool) if pair.rows is None else gathered(pair.rows)
    number = jnp.maximum(jnp.sum(selected, dtype=student.dtype), 1)
    return Rows(student, teacher, selected, number)


def products(left: jax.Array, right: jax.Array) -> jax.Array:
    """Computes `left @ right` in full precision, where accelerators would round the factors."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def gram(rows: jax.Array) -> jax.Array:
    """Computes the Gram matrix `[batch, batch]` of rows `[batch, width]`."""
    return products(rows, rows.T)


def size(values: jax.Array) -> jax.Array:
    """Returns the largest absolute value, a scalar without gradient; 1 if all are 0.

    Losses that do not depend on the scale of the features divide by it before they square, so that
    no square over- or underflows.

    Args:
      values: array of any shape.

    Returns:
      A scalar.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(values)))
    return jnp.where(largest > 0, largest, 1)


def centered(rows: jax.Array, selected: jax.Array, number: jax.Array) -> jax.Array:
    """Subtracts the mean of the selected rows; a constant column becomes exactly 0.

    Args:
      rows: `[batch, width]`.
      selected: boolean `[batch]`.
      number: number of selected rows.

    Returns:
      `[batch, width]`, 0 in the other rows.
    """
    # The rounded mean of equal numbers may be another number; that of zeros is zero.
    first = jax.lax.stop_gradient(rows[jnp.argmax(selected)])
    shifted = mask_rows(rows - first, selected)
    return mask_rows(shifted - jnp.sum(shifted, axis=0) / number, selected)
