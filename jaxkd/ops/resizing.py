"""Resizing of feature maps, with the rounding that the references use."""

import jax
import numpy as np

from jaxkd.ops.pooling import check_maps


def resize_nearest(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Nearest neighbor by the floor rule: place i takes source `floor(i * source / target)`.

    `jax.image.resize` rounds from the centres of the places instead, which differs when shrinking
    and for ratios that are not whole.

    Args:
      maps: `[batch, height, width, channels]`.
      size: `(height, width)` of the result.

    Returns:
      `[batch, *size, channels]`.

    Raises:
      ValueError: maps of another rank, a size that is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> resize_nearest(jnp.arange(2.0).reshape(1, 1, 2, 1), (1, 4)).ravel()
      Array([0., 0., 1., 1.], dtype=float32)
    """
    check_maps(maps, size)
    rows, columns = (
        np.arange(target) * source // target
        for source, target in zip(maps.shape[1:3], size, strict=True)
    )
    return maps[:, rows][:, :, columns]
