"""Random erasing: a rectangle of an image is covered."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._checks import check_image
from jaxkd.views._resizing import check_bounds, random_box


@dataclasses.dataclass(frozen=True)
class RandomErasing:
    """Covers a random rectangle of an image `[height, width, channels]` with one value.

    Takes any values and gives the same type; after `Normalize` the default covers with the mean.
    Label maps stay as they are: what is covered is still to be told. In ten attempts none may fit
    a small image, which then stays as it is.

    Zhong et al., Random Erasing Data Augmentation, 2020.

    Attributes:
      probability: probability of the erasing.
      scale: smallest and largest area, as a fraction of the image's.
      ratio: smallest and largest aspect ratio, width over height.
      fill: the value of the rectangle.

    Raises:
      ValueError: a probability outside [0, 1], bounds in the wrong order.

    Example:
      >>> erase = RandomErasing(probability=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
      >>> float(erase(jax.random.key(0), jnp.ones((8, 8, 1))).sum())
      48.0
    """

    kind: ClassVar[str] = "photometric"
    probability: float = 0.5
    scale: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], not {self.probability}")
        check_bounds("scale", self.scale, 1)
        check_bounds("ratio", self.ratio, math.inf)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Covers a part of one image."""
        check_image(image, self)
        whether, where = jax.random.split(key)
        found, (top, left, high, wide) = random_box(
            where, (image.shape[0], image.shape[1]), self.scale, self.ratio
        )
        rows, columns = jnp.arange(image.shape[0])[:, None], jnp.arange(image.shape[1])
        inside = (rows >= top) & (rows < top + high) & (columns >= left) & (columns < left + wide)
        erased = inside & found & jax.random.bernoulli(whether, self.probability)
        return jnp.where(erased[..., None], jnp.asarray(self.fill, image.dtype), image)
