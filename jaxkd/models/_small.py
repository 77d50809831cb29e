"""Small networks for experiments on small images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class MLP(nnx.Module):
    """Fully connected layers with ReLU between them.

    Args:
      in_features: numbers in one example, all its axes together.
      hidden: widths of the hidden layers.
      num_classes: width of the logits.
      dropout_rate: share of the last hidden layer set to zero in training.
      rngs: for the initial weights.

    Example:
      >>> MLP(64, (32,), 10, rngs=nnx.Rngs(0))(jnp.ones((2, 8, 8, 1))).shape
      (2, 10)
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        num_classes: int,
        *,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        widths = [in_features, *hidden]
        self.layers = nnx.List(
            nnx.Linear(a, b, rngs=rngs) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.head = nnx.Linear(widths[-1], num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Logits `[batch, num_classes]` of `[batch, ...]`."""
        x = inputs.reshape(inputs.shape[0], -1)
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.head(self.dropout(x))


class CNN(nnx.Module):
    """3×3 convolutions with ReLU and 2×2 max pooling, then one hidden layer.

    Args:
      image_shape: `(height, width, channels)`.
      channels: of the convolutions; each halves height and width.
      hidden: width of the layer before the logits.
      num_classes: width of the logits.
      dropout_rate: share of the hidden layer set to zero in training.
      rngs: for the initial weights.

    Example:
      >>> CNN((28, 28, 1), (16, 32), 64, 10, rngs=nnx.Rngs(0))(jnp.ones((2, 28, 28, 1))).shape
      (2, 10)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        hidden: int,
        num_classes: int,
        *,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        height, width, depth = image_shape
        depths = [depth, *channels]
        self.convs = nnx.List(
            nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in zip(depths, depths[1:], strict=False)
        )
        for _ in channels:
            height, width = height // 2, width // 2
        if height < 1 or width < 1:
            raise ValueError(
                f"{len(channels)} poolings leave nothing of an image of {image_shape[:2]} pixels"
            )
        self.hidden = nnx.Linear(height * width * depths[-1], hidden, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.head = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Logits `[batch, num_classes]` of images `[batch, height, width, channels]`."""
        x = inputs
        for conv in self.convs:
            x = max_pool(nnx.relu(conv(x)))
        x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.head(self.dropout(x))


def max_pool(images: jax.Array) -> jax.Array:
    """2×2 max pooling with stride 2, the odd last row and column left out.

    A maximum of strided slices: the gradient of XLA's own windowed maximum is dozens of times
    slower on CPU.

    Args:
      images: `[batch, height, width, channels]`.

    Returns:
      `[batch, height // 2, width // 2, channels]`.
    """
    height, width = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    images = images[:, :height, :width]
    rows = jnp.maximum(images[:, 0::2], images[:, 1::2])
    return jnp.maximum(rows[:, :, 0::2], rows[:, :, 1::2])
