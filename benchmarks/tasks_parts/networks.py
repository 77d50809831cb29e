"""Networks of the benchmark that the library has no need of."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.ops import conv_general_dilated


class Segmenter(nnx.Module):
    """Two convolutions down, one beside and one up, with a skip connection: a small U-Net.

    Args:
      width: channels of the first convolution; the others have twice as many.
      num_classes: number of classes.
      rngs: random streams for the initial weights.
    """

    def __init__(self, width: int, num_classes: int, *, rngs: nnx.Rngs):
        def conv(channels: int, features: int, stride: int = 1) -> nnx.Conv:
            return nnx.Conv(
                channels,
                features,
                (3, 3),
                strides=stride,
                conv_general_dilated=conv_general_dilated,
                rngs=rngs,
            )

        self.first, self.second = conv(1, width, 2), conv(width, 2 * width, 2)
        self.beside, self.up = conv(2 * width, 2 * width), conv(3 * width, 2 * width)
        # The logits of four pixels at each place of the half resolution.
        self.head = nnx.Linear(2 * width, 4 * num_classes, rngs=rngs)
        self.num_classes = num_classes

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns logits `[batch, height, width, num_classes]` of `[batch, height, width, 1]`."""
        half = nnx.relu(self.first(images))
        quarter = nnx.relu(self.second(half))
        quarter = nnx.relu(self.beside(quarter))
        again = jnp.repeat(jnp.repeat(quarter, 2, axis=1), 2, axis=2)
        logits = self.head(nnx.relu(self.up(jnp.concatenate([half, again], axis=-1))))
        batch, height, width, _ = logits.shape
        blocks = logits.reshape(batch, height, width, 2, 2, self.num_classes).swapaxes(2, 3)
        return blocks.reshape(batch, 2 * height, 2 * width, self.num_classes)
