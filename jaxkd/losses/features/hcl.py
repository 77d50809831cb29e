"""Hierarchical context loss: differences at several resolutions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import as_features, paired_features
from jaxkd.ops import adaptive_average_pool

_LEVELS = (4, 2, 1)


def hcl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes ReviewKD's hierarchical context loss, squared differences at several resolutions.

    The loss is a weighted mean over levels of the mean squared differences: of the maps, and of the
    maps pooled to 4x4, 2x2 and 1x1, with weights 1, 1/2, 1/4 and 1/8 divided by their sum. As in
    the authors' code, a level not smaller than the height is left out, and the following levels
    take its weight. ReviewKD sums the losses of its stages, each behind an attention-based fusion
    of the student's stages.

    Args:
      student: maps `[batch, height, width, channels]`, behind a connector, or vectors
        `[batch, channels]`, which count as maps of 1x1 (the pooled feature, ReviewKD's last stage).
      teacher: features of the same shape.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: shapes that differ or are those of neither maps nor vectors, a mask that is not
        `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.hcl(jnp.zeros((1, 8, 8, 3)), jnp.full((1, 8, 8, 3), 2.0))
      Array([4.], dtype=float32)

    References:
      Chen, Liu, Zhao and Jia, Distilling Knowledge via Knowledge Review, CVPR 2021.
    """
    student, teacher = as_features(student, teacher)
    vectors = student.ndim == teacher.ndim == 2
    pair = paired_features(student, teacher, where, rank=2 if vectors else 4)
    # Pooling is linear: the pooled difference is the difference of the pooled maps.
    difference = pair.student - pair.teacher
    if vectors:
        difference = difference[:, None, None]
    levels = [level for level in _LEVELS if level < difference.shape[1]]
    pyramid = [difference, *(adaptive_average_pool(difference, (size, size)) for size in levels)]
    weights = [0.5**index for index in range(len(pyramid))]
    losses = [
        weight * jnp.mean(jnp.square(maps), axis=(1, 2, 3))
        for weight, maps in zip(weights, pyramid, strict=True)
    ]
    return pair.finish(sum(losses[1:], losses[0]) / sum(weights))
