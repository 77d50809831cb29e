"""Small networks for experiments on small images."""

import math
from collections.abc import Sequence

import jax
from flax import nnx

from jaxkd.models._layers import (
    MakeNorm,
    batch_norm,
    check_images,
    check_sizes,
    global_average,
)
from jaxkd.models._registry import Entry, maker
from jaxkd.ops import conv_general_dilated, max_pool


class MLP(nnx.Module):
    """Fully connected layers with ReLU between them.

    Args:
      in_features: numbers in one example, all its axes together.
      hidden: widths of the hidden layers.
      num_classes: number of classes, the width of the logits.
      dropout_rate: share of the last hidden layer set to zero in training.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> logits, features = MLP(64, (32,), 10, rngs=nnx.Rngs(0))(jnp.ones((2, 8, 8, 1)))
      >>> logits.shape, sorted(features)
      ((2, 10), ['embedding', 'hidden1'])
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
        self.in_features = in_features
        widths = [in_features, *check_sizes("hidden", hidden)]
        self.layers = nnx.List(
            nnx.Linear(a, b, rngs=rngs) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.head = nnx.Linear(widths[-1], num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits `[batch, num_classes]` for `[batch, ...]`, and features.

        The features are `hidden1`, `hidden2`, … after ReLU and `embedding`, the last of them.

        Raises:
          ValueError: examples of another size.
        """
        if math.prod(inputs.shape[1:]) != self.in_features:
            raise ValueError(
                f"MLP was made for [batch, ...] with {self.in_features} numbers an example, not "
                f"for {tuple(inputs.shape)}: resize the examples, or make the network for them"
            )
        features = {}
        x = inputs.reshape(inputs.shape[0], -1)
        for number, layer in enumerate(self.layers, 1):
            x = nnx.relu(layer(x))
            features[f"hidden{number}"] = x
        features["embedding"] = x
        return self.head(self.dropout(x)), features


class CNN(nnx.Module):
    """3×3 convolutions with ReLU and 2×2 max pooling, then one hidden layer.

    Args:
      image_shape: `(height, width, channels)`.
      channels: number of channels of each convolution; each halves height and width.
      hidden: width of the layer before the logits.
      num_classes: number of classes, the width of the logits.
      dropout_rate: share of the hidden layer set to zero in training.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> cnn = CNN((28, 28, 1), (16, 32), 64, 10, rngs=nnx.Rngs(0))
      >>> logits, features = cnn(jnp.ones((2, 28, 28, 1)))
      >>> logits.shape, features["stage1"].shape
      ((2, 10), (2, 28, 28, 16))
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
        self.image_shape = check_sizes("image_shape", image_shape, "(height, width, channels)")
        height, width, depth = self.image_shape
        channels = check_sizes("channels", channels)
        depths = [depth, *channels]
        self.convs = nnx.List(
            nnx.Conv(a, b, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs)
            for a, b in zip(depths, depths[1:], strict=False)
        )
        for _ in channels:
            height, width = height // 2, width // 2
        if height < 1 or width < 1:
            raise ValueError(
                f"{len(channels)} poolings leave nothing of an image of "
                f"{self.image_shape[:2]} pixels"
            )
        self.hidden = nnx.Linear(height * width * depths[-1], hidden, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.head = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are the maps of every convolution, `preact1`, … before and `stage1`, … after
        ReLU, and `embedding`, the hidden layer.

        Raises:
          ValueError: images of another shape.
        """
        if tuple(inputs.shape[1:]) != self.image_shape:
            raise ValueError(
                f"CNN was made for [batch, ...] with images {self.image_shape}, not for "
                f"{tuple(inputs.shape)}: resize the images, or make the network for them"
            )
        features = {}
        x = inputs
        for number, conv in enumerate(self.convs, 1):
            features[f"preact{number}"] = x = conv(x)
            features[f"stage{number}"] = x = nnx.relu(x)
            x = max_pool(x)
        features["embedding"] = x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.head(self.dropout(x)), features


class ConvNet(nnx.Module):
    """3×3 convolutions with normalization and ReLU, then the global average and one layer.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      widths: number of channels of the stages, one convolution each.
      strides: stride of each convolution.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> logits, features = ConvNet(1, 10, rngs=nnx.Rngs(0))(jnp.ones((2, 28, 28, 1)))
      >>> logits.shape, features["stage3"].shape
      ((2, 10), (2, 7, 7, 32))
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (8, 16, 32),
        strides: Sequence[int] = (2, 2, 1),
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if len(widths) != len(strides):
            raise ValueError(f"{len(widths)} widths need as many strides, not {len(strides)}")
        self.in_channels = in_channels
        depths = [in_channels, *widths]
        self.convs = nnx.List(
            nnx.Conv(
                a,
                b,
                (3, 3),
                strides=(s, s),
                use_bias=False,
                conv_general_dilated=conv_general_dilated,
                rngs=rngs,
            )
            for a, b, s in zip(depths, widths, strides, strict=False)
        )
        self.norms = nnx.List(norm(width, rngs=rngs) for width in widths)
        self.head = nnx.Linear(depths[-1], num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are the maps of every stage, `preact1`, … before and `stage1`, … after ReLU,
        and `embedding`, the global average of the last.
        """
        check_images(inputs, "ConvNet", channels=self.in_channels)
        features = {}
        x = inputs
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), 1):
            features[f"preact{number}"] = x = norm(conv(x))
            features[f"stage{number}"] = x = nnx.relu(x)
        features["embedding"] = x = global_average(x)
        return self.head(x), features


def _mlp(*, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs) -> MLP:
    del norm
    return MLP(image_size * image_size * in_channels, (256, 256), num_classes, rngs=rngs)


def _cnn(*, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs) -> CNN:
    del norm
    shape = (image_size, image_size, in_channels)
    return CNN(shape, (32, 64), 128, num_classes, rngs=rngs)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mlp",
        "small",
        _mlp,
        image_size=32,
        num_classes=10,
        parameters=None,
        reference="two hidden layers of 256",
        fixed_size=True,
        norms=("none",),
    ),
    Entry(
        "cnn",
        "small",
        _cnn,
        image_size=32,
        num_classes=10,
        parameters=None,
        reference="two convolutions of 32 and 64 channels, one hidden layer of 128",
        fixed_size=True,
        norms=("none",),
    ),
    Entry(
        "convnet",
        "small",
        maker(ConvNet, widths=(32, 64, 128)),
        image_size=32,
        num_classes=10,
        parameters=None,
        reference="three convolutions of 32, 64 and 128 channels",
    ),
)
