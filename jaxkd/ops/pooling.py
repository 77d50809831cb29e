"""Pooling of feature maps, with the bins of the reference implementations."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


def max_pool(images: jax.Array, window: int = 2, stride: int = 2, *, padding: int = 0) -> jax.Array:
    """Computes max pooling over the windows that fit; remaining rows and columns are ignored.

    Without a gradient it is XLA's windowed maximum, which every runtime has an operation for. With
    one it is a maximum of strided slices, since the gradient of the former is dozens of times
    slower on CPU. Both give the same numbers. (On CPU the evaluation of a small CNN takes between
    the same time and a third more by windows; in LiteRT it is two to four times as fast.)

    Args:
      images: `[batch, height, width, channels]`.
      window: side of the window.
      stride: distance of the windows.
      padding: number of rows and columns of padding on every side, which are never the maximum.

    Returns:
      `[batch, (height + 2 padding - window) // stride + 1, …, channels]`.

    Raises:
      ValueError: the window does not fit.

    Example:
      >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel()
      Array([ 5.,  7., 13., 15.], dtype=float32)
    """
    if min(images.shape[1:3]) + 2 * padding < window:
        raise ValueError(f"a window of {window} does not fit into maps of {images.shape[1:3]}")
    return _max_pool(images, window, stride, padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_pool(images: jax.Array, window: int, stride: int, padding: int) -> jax.Array:
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    exact = jnp.issubdtype(images.dtype, jnp.integer)
    lowest = np.asarray(jnp.iinfo(images.dtype).min if exact else -np.inf, images.dtype)
    sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(images, lowest, jax.lax.max, sizes, strides, sides)


@_max_pool.defjvp
def _max_pool_jvp(
    window: int,
    stride: int,
    padding: int,
    primals: tuple[jax.Array],
    tangents: tuple[jax.Array],
) -> tuple[jax.Array, jax.Array]:
    def pool(images: jax.Array) -> jax.Array:
        return _slices_max(images, window, stride, padding)

    return jax.jvp(pool, primals, tangents)


def _slices_max(images: jax.Array, window: int, stride: int, padding: int) -> jax.Array:
    if padding:
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        images = jnp.pad(images, pads, constant_values=-jnp.inf)
    for axis in (1, 2):
        count = (images.shape[axis] - window) // stride + 1
        parts = [
            jax.lax.slice_in_dim(images, at, at + (count - 1) * stride + 1, stride, axis)
            for at in range(window)
        ]
        # In pairs, so that the gradient's chain stays short.
        while len(parts) > 1:
            pairs = [jnp.maximum(a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
            parts = pairs + parts[len(pairs) * 2 :]
        images = parts[0]
    return images


def global_average(features: jax.Array) -> jax.Array:
    """Averages features `[batch, ..., channels]` over positions, to `[batch, channels]`."""
    return jnp.mean(features, axis=tuple(range(1, features.ndim - 1)))


def adaptive_average_pool(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Averages maps over bins to any size.

    Bin i of n along an axis of length L covers `floor(i L / n)` to `ceil((i + 1) L / n)`, both
    counted from 0 and the last left out: bins overlap where n does not divide L (7 to 4: 0-1, 1-3,
    3-5, 5-6), and repeat where n exceeds L.

    Args:
      maps: `[batch, height, width, channels]`.
      size: `(height, width)` of the result.

    Returns:
      `[batch, *size, channels]`.

    Raises:
      ValueError: the maps have another rank, or a size is not positive.

    Example:
      >>> maps = jnp.arange(4.0).reshape(1, 2, 2, 1)
      >>> adaptive_average_pool(maps, (1, 1))
      Array([[[[1.5]]]], dtype=float32)
    """
    check_maps(maps, size)
    if not jnp.issubdtype(maps.dtype, jnp.floating):
        maps = maps.astype(jnp.float32)
    height, width = maps.shape[1:3]
    if (height, width) == tuple(size):
        return maps
    if height % size[0] == 0 and width % size[1] == 0:
        # One axis at a time: explicit meshes refuse a reshape that splits two at once.
        bins = maps.reshape(maps.shape[0], size[0], height // size[0], *maps.shape[2:])
        bins = bins.reshape(*bins.shape[:3], size[1], width // size[1], maps.shape[3])
        return jnp.mean(bins, axis=(2, 4))
    rows, columns = (_bins(*pair, maps.dtype) for pair in ((height, size[0]), (width, size[1])))
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("ih,bhwc,jw->bijc", rows, maps, columns, precision=highest)


def to_common_size(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pools the larger of two maps to the size of the smaller, along height and width each.

    Args:
      student: `[batch, height, width, channels]`.
      teacher: `[batch, height, width, channels]`, of any size and number of channels.

    Returns:
      Both maps, of one height and width.

    Example:
      >>> student, teacher = to_common_size(jnp.ones((1, 4, 4, 8)), jnp.ones((1, 7, 7, 64)))
      >>> student.shape, teacher.shape
      ((1, 4, 4, 8), (1, 4, 4, 64))
    """
    check_maps(student, (1, 1))
    check_maps(teacher, (1, 1))
    size = (min(student.shape[1], teacher.shape[1]), min(student.shape[2], teacher.shape[2]))
    return adaptive_average_pool(student, size), adaptive_average_pool(teacher, size)


def pyramid(maps: jax.Array, levels: tuple[int, ...] = (1, 2, 4), *, base: int = 4) -> jax.Array:
    """Averages maps over the regions of several grids, for scale-decoupled distillation.

    The maps are averaged to `base` by `base` first and every grid is pooled from those, as in the
    authors' code: pooled from the maps themselves the coarse grids would differ where `base` does
    not divide the height and width.

    Args:
      maps: `[batch, height, width, channels]`.
      levels: number of regions along a side of each grid, in the order of the result.
      base: number of regions along a side of the grid that all others are pooled from.

    Returns:
      `[batch, regions, channels]`: the sum of the squares of the levels is the number of regions,
      which are in reading order within a grid.

    Raises:
      ValueError: the maps have another rank, there is no level, or a level or base is not positive.

    Example:
      >>> pyramid(jnp.arange(16.0).reshape(1, 4, 4, 1), (1, 2)).ravel()
      Array([ 7.5,  2.5,  4.5, 10.5, 12.5], dtype=float32)

    References:
      He et al., Spatial Pyramid Pooling, 2014; Luo et al., Scale Decoupled Distillation, CVPR 2024.
    """
    if not levels:
        raise ValueError("levels must name at least one grid, got none")
    pooled = adaptive_average_pool(maps, (base, base))
    grids = [adaptive_average_pool(pooled, (level, level)) for level in levels]
    return jnp.concatenate([g.reshape(g.shape[0], -1, g.shape[-1]) for g in grids], axis=1)


def _bins(source: int, target: int, dtype: jnp.dtype) -> np.ndarray:
    weights = np.zeros((target, source), dtype)
    for index in range(target):
        start, stop = index * source // target, math.ceil((index + 1) * source / target)
        weights[index, start:stop] = 1 / (stop - start)
    return weights


def check_maps(maps: jax.Array, size: tuple[int, int]) -> None:
    """Refuses what is no batch of maps, and sizes that are not positive."""
    if maps.ndim != 4:
        raise ValueError(f"maps are [batch, height, width, channels], not {maps.shape}")
    if min(size) < 1:
        raise ValueError(f"size must be positive, not {size}")
