"""Transforms of one image to another size: resizing and crops."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._checks import check_image
from jaxkd.views._resampling import (
    check_interpolation,
    check_size,
    resize,
    resize_nearest,
    shorter_side,
)

# An attempt takes four random numbers: area, aspect ratio, and the two coordinates of its corner.
_ATTEMPTS, _NUMBERS = 10, 4


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resizes an image `[height, width, channels]`, with antialiasing; gives float32.

    Attributes:
      size: length of the shorter side, the aspect ratio kept, or `(height, width)`.
      interpolation: `"bilinear"` or `"bicubic"`; maps take the nearest value.

    Raises:
      ValueError: a size that is not positive, an unknown interpolation.

    Example:
      >>> Resize(16)(jax.random.key(0), jnp.zeros((32, 64, 3))).shape
      (16, 32, 3)
    """

    random: ClassVar[bool] = False
    kind: ClassVar[str] = "geometric"
    size: int | tuple[int, int] = 224
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size(self.size)
        check_interpolation(self.interpolation)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Resizes one image; the key is not used."""
        del key
        check_image(image, self)
        size = shorter_side(image.shape[0], image.shape[1], self.size)
        return resize(image, (0, 0, *image.shape[:2]), size, self.interpolation)

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Resizes a map `[height, width, channels]` without blending its values."""
        del key, fill
        size = shorter_side(label_map.shape[0], label_map.shape[1], self.size)
        return resize_nearest(label_map, (0, 0, *label_map.shape[:2]), size)


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """Cuts the middle out of an image `[height, width, channels]`.

    Attributes:
      size: height and width of the result, or `(height, width)`.

    Raises:
      ValueError: a size that is not positive; when called, an image that is smaller.

    Example:
      >>> CenterCrop(2)(jax.random.key(0), jnp.arange(16).reshape(4, 4, 1))[..., 0].tolist()
      [[5, 6], [9, 10]]
    """

    random: ClassVar[bool] = False
    kind: ClassVar[str] = "geometric"
    size: int | tuple[int, int] = 224

    def __post_init__(self) -> None:
        check_size(self.size)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Crops one image; the key is not used."""
        del key
        check_image(image, self)
        high, wide = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        height, width = image.shape[:2]
        if high > height or wide > width:
            raise ValueError(
                f"{self} cannot be cut out of an image {list(image.shape)}: resize it before, "
                f"Resize({max(high, wide)})"
            )
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return image[top : top + high, left : left + wide]

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Crops a map `[height, width, channels]` as its image."""
        del fill
        return self(key, label_map)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Resizes a random part of an image `[height, width, channels]`; gives float32.

    The part has a random area and a random aspect ratio (Szegedy et al., Going Deeper with
    Convolutions, 2015): ten attempts, then the largest part in the middle whose aspect ratio is
    allowed. `jaxkd.data.RandomResizedCrop` does the same to encoded images of any size.

    Attributes:
      size: height and width of the result, or `(height, width)`.
      scale: smallest and largest area, as a fraction of the image's.
      ratio: smallest and largest aspect ratio, width over height.
      interpolation: `"bilinear"` or `"bicubic"`; maps take the nearest value.

    Raises:
      ValueError: a size that is not positive, bounds in the wrong order, an unknown interpolation.

    Example:
      >>> RandomResizedCrop(16)(jax.random.key(0), jnp.zeros((32, 48, 3))).shape
      (16, 16, 3)
    """

    kind: ClassVar[str] = "geometric"
    size: int | tuple[int, int] = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size(self.size)
        check_interpolation(self.interpolation)
        check_bounds("scale", self.scale, 1)
        check_bounds("ratio", self.ratio, math.inf)

    def box(self, key: jax.Array, height: int, width: int) -> tuple[jax.Array, ...]:
        """Returns the part that a key chooses of an image of this size.

        Args:
          key: key of the choice.
          height: height of the image in pixels.
          width: width of the image in pixels.

        Returns:
          `(top, left, height, width)` in whole pixels.
        """
        low, high = self.ratio
        wide, tall = width, height
        if width < low * height:
            tall = max(1, round(width / low))
        elif width > high * height:
            wide = max(1, round(height * high))
        middle = ((height - tall) // 2, (width - wide) // 2, tall, wide)
        found, box = random_box(key, (height, width), self.scale, self.ratio)
        return tuple(jnp.where(found, a, b) for a, b in zip(box, middle, strict=True))

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Cuts and resizes a part of one image."""
        check_image(image, self)
        return resize(image, self.box(key, *image.shape[:2]), self._size, self.interpolation)

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Cuts the same part of a map and takes its nearest values."""
        del fill
        return resize_nearest(label_map, self.box(key, *label_map.shape[:2]), self._size)

    @property
    def _size(self) -> tuple[int, int]:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


def random_box(
    key: jax.Array,
    height_width: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Samples a part of an image with a random area and aspect ratio, in ten attempts.

    Args:
      key: key of the choice.
      height_width: size of the image in pixels.
      scale: smallest and largest area, as a fraction of the image's.
      ratio: smallest and largest aspect ratio, width over height.

    Returns:
      Whether an attempt fitted, and the first that did: `(top, left, height, width)`.
    """
    height, width = height_width
    area, aspect, x, y = jax.random.uniform(key, (_NUMBERS, _ATTEMPTS))
    target = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    side = jnp.exp((log_low + (log_high - log_low) * aspect) / 2)
    root = jnp.sqrt(target)
    wide, tall = jnp.round(root * side), jnp.round(root / side)
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    # Rounding may make a number below 1 times the number of corners that number.
    top = jnp.minimum(jnp.floor(y * (height - tall + 1)), height - tall)
    left = jnp.minimum(jnp.floor(x * (width - wide + 1)), width - wide)
    first = jnp.argmax(fits)
    box = tuple(values[first].astype(jnp.int32) for values in (top, left, tall, wide))
    return fits.any(), box


def check_bounds(what: str, bounds: tuple[float, float], largest: float) -> None:
    """Refuses bounds that are not positive, in the wrong order, or too large."""
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= largest:
        top = "" if largest == math.inf else f" <= {largest}"
        raise ValueError(f"{what} must be (low, high) with 0 < low <= high{top}, not {bounds}")
