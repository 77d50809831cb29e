"""Cosine distance of features of the same shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import paired_features, unit


def feature_cosine(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the cosine distance `1 - cos(student, teacher)` along the feature axis.

    The distance is averaged over the other axes but the batch. A row of zeros has no direction: it
    counts 1, or 0 if both sides are zero, and has no gradient.

    Args:
      student: features `[batch, ...]`, as for `feature_mse`.
      teacher: features of the same shape.
      axis: feature axis, not that of the batch.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, between 0 and 2, float32 at least.

    Raises:
      ValueError: shapes that differ or have no feature axis, an axis that is the batch's or out of
        range, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
      >>> losses.feature_cosine(student, jnp.array([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]]))
      Array([0., 1., 2.], dtype=float32)

    References:
      Chen and He, Exploring Simple Siamese Representation Learning, 2021, use the same distance.
    """
    pair = paired_features(student, teacher, where)
    rank = pair.student.ndim
    if not -rank <= axis < rank or axis % rank == 0:
        raise ValueError(
            f"axis must be a feature axis of features of shape {pair.student.shape}, the first of "
            f"which is the batch: got {axis}"
        )
    unit_student, has_student = unit(pair.student, axis)
    unit_teacher, has_teacher = unit(pair.teacher, axis)
    # Half the squared distance of unit vectors is 1 - cos, exactly 0 where they are equal.
    distance = 0.5 * jnp.sum(jnp.square(unit_student - unit_teacher), axis=axis)
    distance = jnp.where(has_student & has_teacher, distance, has_student ^ has_teacher)
    return pair.finish(jnp.mean(distance, axis=tuple(range(1, distance.ndim))))
