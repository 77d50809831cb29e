"""Transforms that mix an example with another one, and their labels with them."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Mixup:
    """Mixes an example with a partner, `w x + (1 - w) x'` with `w ~ Beta(alpha, alpha)`.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018. Each example has a partner and a
    weight of its own; partners are sampled from the whole data set.

    Attributes:
      num_classes: number of classes; labels become distributions over them.
      alpha: both parameters of the Beta distribution.

    Raises:
      ValueError: fewer than two classes, or an alpha that is not positive.
    """

    mixes: ClassVar[bool] = True
    num_classes: int
    alpha: float = 0.2

    def __post_init__(self):
        _check_mix(self.num_classes, self.alpha)

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mixed image and the weight of the first."""
        weight = jax.random.beta(key, self.alpha, self.alpha)
        return weight * image + (1 - weight) * partner, weight


@dataclasses.dataclass(frozen=True)
class Cutmix:
    """Pastes a rectangle of a partner into an image `[height, width, channels]`.

    Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers, 2019. The rectangle
    covers about `1 - w` of the image, `w ~ Beta(alpha, alpha)`, and is clipped at the border; the
    weight returned is the true share of pixels left.

    Attributes:
      num_classes: number of classes; labels become distributions over them.
      alpha: both parameters of the Beta distribution.

    Raises:
      ValueError: fewer than two classes, or an alpha that is not positive.
    """

    mixes: ClassVar[bool] = True
    num_classes: int
    alpha: float = 1.0

    def __post_init__(self):
        _check_mix(self.num_classes, self.alpha)

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the patched image and the share of its own pixels that are left."""
        height, width = image.shape[:2]
        k_weight, k_center = jax.random.split(key)
        side = jnp.sqrt(1 - jax.random.beta(k_weight, self.alpha, self.alpha))
        center = jax.random.uniform(k_center, (2,)) * jnp.array([height, width])
        half = side * jnp.array([height, width]) / 2
        low, high = center - half, center + half
        rows, columns = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
        inside = ((rows >= low[0]) & (rows < high[0]))[:, None] & (
            (columns >= low[1]) & (columns < high[1])
        )
        return jnp.where(inside[..., None], partner, image), 1 - inside.mean(dtype=jnp.float32)


def _check_mix(num_classes: int, alpha: float) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, not {num_classes}")
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, not {alpha}")
