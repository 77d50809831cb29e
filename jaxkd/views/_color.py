"""Transforms of the colors of one image, and operations on pixels that they share."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._checks import check_image

# Luma of ITU-R BT.601, as in Pillow and torchvision.
_LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue at random, in a random order.

    The factors of the first three are uniform in `[1 - strength, 1 + strength]`, not below 0; the
    hue turns by a fraction of the circle in `[-hue, hue]`. Takes uint8 or floats from 0 to 255,
    gives float32 from 0 to 255. Gray images have neither saturation nor hue.

    Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification, 2013;
    the rules of torchvision's `ColorJitter`.

    Attributes:
      brightness: strength, 0 for none.
      contrast: strength, 0 for none.
      saturation: strength, 0 for none.
      hue: largest turn, at most 0.5, 0 for none.

    Raises:
      ValueError: a negative strength, or a hue above 0.5.

    Example:
      >>> jitter = ColorJitter(brightness=0.5, hue=0.1)
      >>> jitter(jax.random.key(0), jnp.full((8, 8, 3), 100, jnp.uint8)).dtype
      dtype('float32')
    """

    kind: ClassVar[str] = "photometric"
    takes: ClassVar[str] = "0..255"
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue"):
            value = getattr(self, name)
            if value < 0 or (name == "hue" and value > 0.5):
                most = ", and at most 0.5" if name == "hue" else ""
                raise ValueError(f"{name} must not be negative{most}, not {value}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Changes the colors of one image."""
        check_image(image, self, (1, 3))
        pixels = image.astype(jnp.float32)
        operations = self._operations(key, image.shape[-1])
        if not operations:
            return pixels
        order = jax.random.permutation(jax.random.fold_in(key, 4), len(operations))
        for position in range(len(operations)):
            pixels = jax.lax.switch(order[position], operations, pixels)
        return pixels

    def _operations(self, key: jax.Array, channels: int) -> list[Callable[..., jax.Array]]:
        found: list[Callable[..., jax.Array]] = []
        blends = (brightness, contrast, saturation)
        for number, operation in enumerate(blends):
            strength = getattr(self, operation.__name__)
            if strength and (channels == 3 or operation is not saturation):
                own = jax.random.fold_in(key, number)
                factor = jax.random.uniform(own, minval=max(0.0, 1 - strength), maxval=1 + strength)
                found.append(functools.partial(operation, factor=factor))
        if self.hue and channels == 3:
            own = jax.random.fold_in(key, 3)
            turn = jax.random.uniform(own, minval=-self.hue, maxval=self.hue)
            found.append(functools.partial(turn_hue, turn=turn))
        return found


def gray(image: jax.Array) -> jax.Array:
    """Returns the luma of an image, `[height, width, 1]`."""
    if image.shape[-1] == 1:
        return image
    return (image * jnp.asarray(_LUMA)).sum(axis=-1, keepdims=True)


def blend(image: jax.Array, degenerate: jax.Array | float, factor: jax.Array) -> jax.Array:
    """Moves an image towards another one (a factor below 1) or away from it, within 0 to 255."""
    return jnp.clip(factor * image + (1 - factor) * degenerate, 0, 255)


def brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales the brightness of an image."""
    return blend(image, 0.0, factor)


def contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales the distance of all pixels from the mean luma."""
    return blend(image, gray(image).mean(), factor)


def saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales the distance of all pixels from their own luma."""
    return blend(image, gray(image), factor)


def turn_hue(image: jax.Array, turn: jax.Array) -> jax.Array:
    """Turns the hue of an image of three channels by a fraction of the circle."""
    highest, lowest = image.max(axis=-1), image.min(axis=-1)
    span = highest - lowest
    safe = jnp.where(span > 0, span, 1.0)
    red, green, blue = (image[..., channel] for channel in range(3))
    hue = jnp.where(
        red == highest,
        (green - blue) / safe,
        jnp.where(green == highest, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sector = (hue / 6 + turn) % 1.0 * 6
    # Of each channel, how far below the highest value it lies, by its distance from its own sector.
    offset = (sector[..., None] + jnp.array([5.0, 3.0, 1.0])) % 6
    fall = jnp.clip(jnp.minimum(offset, 4 - offset), 0, 1)
    return highest[..., None] - span[..., None] * fall
