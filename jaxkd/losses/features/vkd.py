"""VkD: regression of layer-normalized features from an orthogonal projection."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import paired_features
from jaxkd.losses._numerics import huber
from jaxkd.losses.features._positions import check_same_channels
from jaxkd.ops.pooling import global_average


def vkd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes VkD, the smooth L1 distance to the teacher's pooled, layer-normalized features.

    The student's features come from an orthogonal projection (a connector whose matrix keeps
    lengths); averaging over positions before or after it is the same. The loss is the mean over
    channels, with the corner of smooth L1 at 1 and 1e-5 under the root of the normalization, which
    has no scale or shift. It is not 0 at student = teacher unless the teacher is already
    normalized.

    Args:
      student: features `[batch, ..., channels]`: maps, tokens or vectors.
      teacher: features with the same number of channels; positions need not match.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: numbers of channels or examples that differ, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> tokens, teacher = jnp.zeros((1, 5, 2)), jnp.array([[[[9.0, 5.0]]]])
      >>> print(f"{losses.vkd(tokens, teacher)[0]:.4f}")
      0.5000

    References:
      Miles, Elezi and Deng, VkD: Improving Knowledge Distillation using Orthogonal Projections,
      CVPR 2024.
    """
    pair = paired_features(student, teacher, where, same_shape=False)
    check_same_channels(pair)
    target = global_average(pair.teacher)
    centered = target - jnp.mean(target, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=-1, keepdims=True)
    difference = global_average(pair.student) - centered / jnp.sqrt(variance + 1e-5)
    return pair.finish(jnp.mean(huber(difference), axis=-1))
