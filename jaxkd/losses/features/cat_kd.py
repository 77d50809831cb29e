"""Class attention transfer: the positions at which the networks recognize each class."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import paired_features, unit
from jaxkd.losses.features._positions import check_same_channels
from jaxkd.ops import adaptive_average_pool


def cat_kd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    resolution: int = 2,
    normalize: bool = True,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes class attention transfer, the squared difference of class activation maps.

    Each class's map is averaged over `resolution` by `resolution` bins and divided by its L2 norm
    over them. The loss is the mean over classes and bins; the authors' weights, 50 to 400, make up
    for its small size. A map of zeros stays zero, without gradient. For the authors' binarized
    teacher, pass a teacher of zeros and ones.

    Args:
      student: class activation maps `[batch, height, width, num_classes]`, the last feature map
        multiplied by the weights of the classifier.
      teacher: class activation maps of any height and width.
      resolution: number of bins along height and along width.
      normalize: whether to divide by the norm; the authors do not when they transfer maps alone.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: features that are not maps, numbers of classes that differ, a resolution below 1,
        a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.ones((1, 4, 4, 1)), jnp.eye(2).reshape(1, 2, 2, 1)
      >>> print(f"{losses.cat_kd(student, teacher)[0]:.4f}")
      0.1464

    References:
      Guo et al., Class Attention Transfer Based Knowledge Distillation, CVPR 2023.
    """
    pair = paired_features(student, teacher, where, same_shape=False, rank=4)
    check_same_channels(pair)
    maps = [adaptive_average_pool(side, (resolution, resolution)) for side in pair[:2]]
    if normalize:
        maps = [unit(side, (1, 2))[0] for side in maps]
    return pair.finish(jnp.mean(jnp.square(maps[0] - maps[1]), axis=(1, 2, 3)))
