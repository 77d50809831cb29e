"""RandAugment: a few random operations of one strength."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._checks import check_image, known_fill
from jaxkd.views._color import blend, brightness, contrast, saturation
from jaxkd.views._resampling import affine, check_interpolation

_STRONGEST = 30.0
# The first five move pixels; the others change values.
_MOVING = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_OPERATIONS = (*_MOVING, "identity", "brightness", "color", "contrast", "sharpness")
OPERATIONS = (*_OPERATIONS, "posterize", "solarize", "autocontrast", "equalize")


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies a few random operations to an image `[height, width, 1 or 3]`.

    Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space,
    2020, with its 14 operations: identity, autocontrast, equalize, rotate, solarize, color,
    posterize, contrast, brightness, sharpness, shear and translate in both directions. The largest
    magnitude stands for 30 degrees, a shear of 0.3, a translation by 150/331 of the side, factors
    of 0.1 and 1.9, 4 of 8 bits, and a threshold of 0. Signs are random. Takes uint8 or floats from
    0 to 255, gives float32 from 0 to 255. Label maps take part in what moves pixels.

    Attributes:
      num_ops: number of operations, each one of the 14.
      magnitude: strength, from 0 to 30.
      fill: the value outside of the image.
      interpolation: `"nearest"` or `"bilinear"`; maps take the nearest value.

    Raises:
      ValueError: no operation, a magnitude outside [0, 30], an unknown interpolation.

    Example:
      >>> augment = RandAugment(num_ops=2, magnitude=9)
      >>> augment(jax.random.key(0), jnp.full((8, 8, 3), 100, jnp.uint8)).shape
      (8, 8, 3)
    """

    kind: ClassVar[str] = "geometric"
    takes: ClassVar[str] = "0..255"
    num_ops: int = 2
    magnitude: float = 9.0
    fill: float = 128.0
    interpolation: str = "nearest"

    def __post_init__(self) -> None:
        check_interpolation(self.interpolation, ("nearest", "bilinear"))
        if self.num_ops < 1:
            raise ValueError(f"num_ops must be at least 1, not {self.num_ops}")
        if not 0 <= self.magnitude <= _STRONGEST:
            raise ValueError(f"magnitude must lie in [0, {_STRONGEST:g}], not {self.magnitude}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Applies the operations that a key chooses to one image."""
        check_image(image, self, (1, 3))
        pixels = image.astype(jnp.float32)
        for operation, sign in self.choices(key):
            pixels = self.apply(pixels, operation, sign)
        return pixels

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Moves a map `[height, width, channels]` as the image of the same key."""
        outside = known_fill(fill, self)
        for operation, sign in self.choices(key):
            label_map = affine(label_map, self._matrix(label_map, operation, sign), outside)
        return label_map

    def choices(self, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Returns the operations that a key chooses, each a number and a sign of 1 or -1."""
        chosen = []
        for number in range(self.num_ops):
            which, side = jax.random.split(jax.random.fold_in(key, number))
            operation = jax.random.randint(which, (), 0, len(OPERATIONS))
            chosen.append((operation, jnp.where(jax.random.bernoulli(side), 1.0, -1.0)))
        return chosen

    def apply(self, image: jax.Array, operation: jax.Array, sign: jax.Array) -> jax.Array:
        """Applies one operation.

        Args:
          image: float32 `[height, width, channels]`, from 0 to 255.
          operation: its number in `OPERATIONS`; may be traced.
          sign: 1 or -1, of the operations that have two directions.

        Returns:
          The image, of the same shape and range.
        """
        matrix = self._matrix(image, operation, sign)
        moved = affine(image, matrix, self.fill, self.interpolation)
        strength = self.magnitude / _STRONGEST
        factor = 1 + sign * 0.9 * strength
        bits = 8 - round(4 * strength)
        first = len(_MOVING)
        return jax.lax.switch(
            jnp.maximum(operation - first, 0),
            [
                lambda x: x,
                lambda x: brightness(x, factor),
                lambda x: saturation(x, factor),
                lambda x: contrast(x, factor),
                lambda x: blend(x, _smooth(x), factor),
                lambda x: _posterize(x, bits),
                lambda x: jnp.where(x >= 255 * (1 - strength), 255 - x, x),
                _autocontrast,
                _equalize,
            ],
            moved,
        )

    def _matrix(self, image: jax.Array, operation: jax.Array, sign: jax.Array) -> jax.Array:
        """The affine map of an operation, the identity of those that move nothing, `[2, 3]`."""
        height, width = image.shape[:2]
        strength = sign * self.magnitude / _STRONGEST
        is_op = [jnp.where(operation == number, strength, 0.0) for number in range(len(_MOVING))]
        shear_x, shear_y = 0.3 * is_op[0], 0.3 * is_op[1]
        right = jnp.trunc(150 / 331 * width * is_op[2])
        down = jnp.trunc(150 / 331 * height * is_op[3])
        angle = -math.radians(30) * is_op[4]  # against the clock, as in Pillow
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        x, y = width / 2, height / 2
        return jnp.array(
            [
                [cos, sin + shear_x, x - x * cos - y * sin + right],
                [shear_y - sin, cos, y + x * sin - y * cos + down],
            ]
        )


def _smooth(image: jax.Array) -> jax.Array:
    """Blurs an image a little; its border stays, as in Pillow's `SMOOTH`."""
    height, width = image.shape[:2]
    total = 4 * image[1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total += image[row : height - 2 + row, column : width - 2 + column]
    return image.at[1:-1, 1:-1].set(total / 13)


def _posterize(image: jax.Array, bits: int) -> jax.Array:
    """Keeps the highest bits of each value."""
    step = 2 ** (8 - bits)
    return jnp.floor(jnp.round(image) / step) * step


def _autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel to the whole range."""
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    span = jnp.where(high > low, high - low, 1.0)
    return jnp.where(high > low, (image - low) * (255 / span), image)


def _equalize(image: jax.Array) -> jax.Array:
    """Spreads the values of each channel evenly over the whole range, by Pillow's rule."""

    def channel(values: jax.Array) -> jax.Array:
        levels = jnp.clip(jnp.round(values), 0, 255).astype(jnp.int32)
        counts = jnp.zeros(256, jnp.int32).at[levels.reshape(-1)].add(1)
        last = counts[levels.max()]
        step = (counts.sum() - last) // 255
        below = jnp.cumsum(counts) - counts
        table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table[levels].astype(values.dtype), values)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)
