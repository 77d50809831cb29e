"""Transforms of one image: normalizing, cropping, flipping."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._checks import known_fill


@dataclasses.dataclass(frozen=True)
class Normalize:
    """`(x / scale - mean) / std`, with one mean and standard deviation for each channel.

    Attributes:
      mean: mean of the scaled channels, by default 0.
      std: standard deviation of the scaled channels, by default 1.
      scale: the value that becomes 1, by default 255 for 8-bit images.

    Raises:
      ValueError: a scale or standard deviation that is not positive.

    Example:
      >>> normalize = Normalize(mean=(0.5,), std=(0.25,))
      >>> normalize(jax.random.key(0), jnp.full((1, 1, 1), 255, jnp.uint8)).item()
      2.0
    """

    random: ClassVar[bool] = False
    kind: ClassVar[str] = "normalize"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 255.0

    def __post_init__(self):
        if not self.scale > 0 or not all(value > 0 for value in self.std):
            raise ValueError(f"scale and std must be positive, not {self.scale} and {self.std}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Normalizes one image; the key is not used."""
        del key
        scaled = image.astype(jnp.float32) / self.scale
        return (scaled - jnp.asarray(self.mean)) / jnp.asarray(self.std)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Pads an image `[height, width, channels]` on every side and cuts its own size out of it.

    Attributes:
      padding: pixels on every side.
      fill: the value outside of the image.

    Raises:
      ValueError: no padding.

    Example:
      >>> crop = RandomCrop(padding=2)
      >>> crop(jax.random.key(0), jnp.ones((8, 8, 3))).shape
      (8, 8, 3)
    """

    kind: ClassVar[str] = "geometric"
    padding: int = 4
    fill: float = 0.0

    def __post_init__(self):
        if self.padding < 1:
            raise ValueError(f"padding must be at least 1 pixel, not {self.padding}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Crops one image."""
        return self._cropped(key, image, self.fill)

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Crops a map `[height, width, channels]` as the image of the same key."""
        return self._cropped(key, label_map, known_fill(fill, self))

    def _cropped(self, key: jax.Array, image: jax.Array, fill: float) -> jax.Array:
        pad = ((self.padding, self.padding),) * 2 + ((0, 0),)
        padded = jnp.pad(image, pad, constant_values=fill)
        top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors an image `[height, width, channels]` left to right.

    Attributes:
      probability: probability of the mirroring.

    Raises:
      ValueError: a probability outside [0, 1].

    Example:
      >>> flip = RandomFlip(probability=1.0)
      >>> flip(jax.random.key(0), jnp.arange(3.0).reshape(1, 3, 1))[0, :, 0].tolist()
      [2.0, 1.0, 0.0]
    """

    kind: ClassVar[str] = "geometric"
    probability: float = 0.5

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], not {self.probability}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Flips one image with the probability, by a sample of its key."""
        return jnp.where(jax.random.bernoulli(key, self.probability), image[:, ::-1], image)

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Flips a map `[height, width, channels]` as the image of the same key."""
        del fill
        return self(key, label_map)
