"""Hint loss: the mean squared difference of features of the same shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import paired_features
from jaxkd.ops import to_common_size


def feature_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the hint loss, the mean of squared differences over all axes but the batch.

    It is the mean, without the factor 1/2 of the paper. Of two maps of different height or width
    the larger is pooled to the size of the smaller.

    Args:
      student: features `[batch, ...]`, for instance maps `[batch, height, width, channels]`, tokens
        `[batch, tokens, width]` or vectors `[batch, width]`, behind a connector where widths
        differ.
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
      >>> losses.feature_mse(jnp.zeros((2, 3, 3, 8)), jnp.full((2, 3, 3, 8), 2.0))
      Array([4., 4.], dtype=float32)

    References:
      Romero et al., FitNets: Hints for Thin Deep Nets, 2015.
    """
    if getattr(student, "ndim", None) == getattr(teacher, "ndim", None) == 4:
        student, teacher = to_common_size(jnp.asarray(student), jnp.asarray(teacher))
    pair = paired_features(student, teacher, where)
    squares = jnp.square(pair.student - pair.teacher)
    return pair.finish(jnp.mean(squares, axis=tuple(range(1, squares.ndim))))
