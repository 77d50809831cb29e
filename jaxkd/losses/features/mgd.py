"""Masked generative distillation: features generated from the student's masked features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import as_features, paired_features
from jaxkd.ops import to_common_size


def mgd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes masked generative distillation, squared differences of generated features.

    The connector `MGD` masks the student's features and generates the teacher's from the unmasked
    ones. The loss is the sum over positions and channels, not the mean, as in the authors' code:
    the value grows with the size of the maps, and the authors' weights are as small as 7e-5
    (classification) and 2e-5 (detection and segmentation). Of two maps of different height or width
    the larger is pooled to the size of the smaller.

    Args:
      student: generated features `[batch, ...]`: maps, tokens or vectors.
      teacher: features of the same shape, except for the size of maps.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: shapes that differ or have no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.mgd(jnp.zeros((1, 2, 2, 8)), jnp.ones((1, 2, 2, 8)))
      Array([32.], dtype=float32)

    References:
      Yang et al., Masked Generative Distillation, ECCV 2022.
    """
    student, teacher = as_features(student, teacher)
    if student.ndim == teacher.ndim == 4:
        student, teacher = to_common_size(student, teacher)
    pair = paired_features(student, teacher, where)
    squares = jnp.square(pair.student - pair.teacher)
    return pair.finish(jnp.sum(squares, axis=tuple(range(1, squares.ndim))))
