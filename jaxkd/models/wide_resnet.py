"""Wide residual networks, whose normalization comes before the convolution."""

import jax
from flax import nnx

from jaxkd.models._layers import (
    MakeNorm,
    batch_norm,
    check_images,
    conv,
    global_average,
)
from jaxkd.models._registry import Entry, maker


class _Block(nnx.Module):
    """Twice normalization, ReLU and a 3×3 convolution, beside a shortcut.

    Where the width changes, the shortcut is a projection of what the first ReLU gives.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stride: int,
        *,
        dropout_rate: float,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        self.norm1 = norm(in_features, rngs=rngs)
        self.conv1 = conv(in_features, out_features, 3, stride, rngs=rngs)
        self.norm2 = norm(out_features, rngs=rngs)
        # Without a random stream where nothing is random, so that training needs no key.
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs if dropout_rate else None)
        self.conv2 = conv(out_features, out_features, 3, rngs=rngs)
        self.resized = in_features != out_features
        if self.resized:
            self.shortcut = conv(in_features, out_features, 1, stride, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The sum, and the normalized input before its ReLU."""
        normalized = self.norm1(x)
        y = nnx.relu(normalized)
        if self.resized:
            x = self.shortcut(y)
        y = nnx.relu(self.norm2(self.conv1(y)))
        return x + self.conv2(self.dropout(y)), normalized


class WideResNet(nnx.Module):
    """The wide residual network for 32×32 images: three stages of preactivated blocks.

    `depth = 6n + 4` gives n blocks a stage: 16, 22, 28, 40.

    Args:
      depth: number of layers with weights.
      widen_factor: the stages have `16 widen_factor`, `32 widen_factor` and `64 widen_factor`
        channels.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      dropout_rate: share of each block's inner map set to zero in training.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights and for dropout.

    Raises:
      ValueError: a depth that is not `6n + 4`, or a factor below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> model = WideResNet(10, 2, 3, 10, rngs=nnx.Rngs(0))
      >>> logits, features = model(jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage2"].shape
      ((2, 10), (2, 16, 16, 64))

    Reference:
      Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        in_channels: int,
        num_classes: int,
        *,
        dropout_rate: float = 0.0,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6n + 4 (10, 16, 22, 28, 40), not {depth}")
        if widen_factor < 1:
            raise ValueError(f"widen_factor must be at least 1, not {widen_factor}")
        self.in_channels = in_channels
        self.stem = conv(in_channels, 16, 3, rngs=rngs)
        stages, before = [], 16
        for index in range(3):
            width, blocks = 16 * 2**index * widen_factor, []
            for position in range((depth - 4) // 6):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(
                    _Block(before, width, stride, dropout_rate=dropout_rate, norm=norm, rngs=rngs)
                )
                before = width
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.final_norm = norm(before, rngs=rngs)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the map of the first convolution, which neither normalization nor ReLU follows;
        - `block1`, …, the sums that the stages end with, which have no activation;
        - `preact1`, … and `stage1`, …: these normalized by what comes next, the first
          normalization of the following stage or the last one of all, before and after its ReLU;
        - `embedding`, the global average of `stage3`.
        """
        check_images(inputs, "WideResNet", channels=self.in_channels)
        features = {}
        features["stem"] = x = self.stem(inputs)
        for number, stage in enumerate(self.stages, 1):
            for position, block in enumerate(stage):
                x, normalized = block(x)
                if number > 1 and position == 0:
                    features[f"preact{number - 1}"] = normalized
            features[f"block{number}"] = x
        features["preact3"] = self.final_norm(x)
        for number in (1, 2, 3):
            features[f"stage{number}"] = nnx.relu(features[f"preact{number}"])
        features["embedding"] = x = global_average(features["stage3"])
        return self.head(x), features


ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        f"wrn_{depth}_{widen_factor}",
        "wide_resnet",
        maker(WideResNet, depth, widen_factor),
        image_size=32,
        num_classes=100,
        parameters=parameters,
        reference="Zagoruyko and Komodakis, 2016",
    )
    for depth, widen_factor, parameters in (
        (16, 1, 180_916),
        (16, 2, 703_284),
        (40, 1, 569_780),
        (40, 2, 2_255_156),
    )
)
