"""Reading an image at other places: resizing with antialiasing, and affine maps."""

import jax
import jax.numpy as jnp
import numpy as np

INTERPOLATIONS = ("bilinear", "bicubic")


def resize(
    image: jax.Array,
    box: tuple[jax.Array | float, ...],
    size: tuple[int, int],
    interpolation: str,
) -> jax.Array:
    """Resizes a part of an image, with antialiasing; nothing outside of it colors its border.

    The filters are Pillow's. What bicubic interpolation overshoots is clipped to the values of the
    image.

    Args:
      image: `[height, width, channels]`.
      box: `(top, left, height, width)` of the part in pixels; may be traced.
      size: height and width of the result.
      interpolation: `"bilinear"` or `"bicubic"`.

    Returns:
      float32 `[*size, channels]`.
    """
    top, left, high, wide = box
    pixels = image.astype(jnp.float32)
    rows = _weights(top, high, size[0], image.shape[0], interpolation)
    columns = _weights(left, wide, size[1], image.shape[1], interpolation)
    for axis, weights in ((1, columns), (0, rows)):
        resized = jnp.tensordot(weights, pixels, (1, axis), precision=jax.lax.Precision.HIGHEST)
        # Clipped after each of both, as Pillow does.
        limits = (pixels.min(), pixels.max()) if interpolation == "bicubic" else (None, None)
        pixels = jnp.clip(jnp.moveaxis(resized, 0, axis), *limits)
    return pixels


def resize_nearest(
    values: jax.Array, box: tuple[jax.Array | float, ...], size: tuple[int, int]
) -> jax.Array:
    """Reads a part of a map at the nearest places; no value is blended with another.

    Args:
      values: `[height, width, ...]`.
      box: as of `resize`.
      size: height and width of the result.

    Returns:
      `[*size, ...]` of the same dtype.
    """
    top, left, high, wide = box
    rows = _nearest(top, high, size[0], values.shape[0])
    columns = _nearest(left, wide, size[1], values.shape[1])
    return values[rows][:, columns]


def affine(
    values: jax.Array, matrix: jax.Array, fill: float | bool, interpolation: str = "nearest"
) -> jax.Array:
    """Reads an image at places that are an affine function of the pixels' own.

    Args:
      values: `[height, width, channels]`.
      matrix: `[2, 3]`; the pixel whose center is `(x, y)` shows what is at
        `matrix @ (x, y, 1)`, with 0.5 added to the numbers of pixels, as in Pillow.
      fill: the value outside of the image.
      interpolation: `"nearest"` or `"bilinear"`.

    Returns:
      `[height, width, channels]`, of the same dtype for the nearest places.
    """
    height, width = values.shape[:2]
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]

    def at(row: jax.Array, column: jax.Array) -> jax.Array:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = values[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
        return jnp.where(inside[..., None], found, jnp.asarray(fill, values.dtype))

    if interpolation == "nearest":
        return at(jnp.floor(row).astype(jnp.int32), jnp.floor(column).astype(jnp.int32))
    row, column = row - 0.5, column - 0.5
    i, j = jnp.floor(row).astype(jnp.int32), jnp.floor(column).astype(jnp.int32)
    down, right = (row - i)[..., None], (column - j)[..., None]
    upper = (1 - right) * at(i, j) + right * at(i, j + 1)
    lower = (1 - right) * at(i + 1, j) + right * at(i + 1, j + 1)
    return (1 - down) * upper + down * lower


def shorter_side(height: int, width: int, size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns height and width of an image whose shorter side becomes `size`, or that pair."""
    if isinstance(size, tuple):
        return size
    shorter = min(height, width)
    return size * height // shorter, size * width // shorter


def check_size(size: int | tuple[int, int]) -> None:
    """Refuses a size that is neither a positive integer nor a pair of them."""
    sides = size if isinstance(size, tuple) else (size, size)
    whole = all(isinstance(side, int | np.integer) and side >= 1 for side in sides)
    if not whole or len(sides) != 2:
        raise ValueError(
            f"size must be a positive number of pixels, or (height, width), not {size!r}"
        )


def check_interpolation(interpolation: str, known: tuple[str, ...] = INTERPOLATIONS) -> None:
    """Refuses an interpolation that there is not."""
    if interpolation not in known:
        raise ValueError(f"interpolation must be one of {known}, not {interpolation!r}")


def _weights(
    start: jax.Array | float, length: jax.Array | float, size: int, there: int, interpolation: str
) -> jax.Array:
    """How much each place along a side counts for each one of the result, `[size, there]`."""
    scale = jnp.asarray(length, jnp.float32) / size
    centers = start + (jnp.arange(size) + 0.5) * scale
    places = jnp.arange(there) + 0.5
    distance = jnp.abs(places - centers[:, None]) / jnp.maximum(scale, 1)
    weights = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    weights = jnp.where((places >= start) & (places <= start + length), weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _triangle(distance: jax.Array) -> jax.Array:
    return jnp.maximum(0.0, 1 - distance)


def _cubic(distance: jax.Array, a: float = -0.5) -> jax.Array:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))


def _nearest(
    start: jax.Array | float, length: jax.Array | float, size: int, there: int
) -> jax.Array:
    centers = start + (jnp.arange(size) + 0.5) * (jnp.asarray(length, jnp.float32) / size)
    return jnp.clip(jnp.floor(centers).astype(jnp.int32), 0, there - 1)
