"""Residual networks for small images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class _Block(nnx.Module):
    """Two 3×3 convolutions with batch normalisation beside a shortcut."""

    def __init__(self, in_features: int, out_features: int, stride: int, *, rngs: nnx.Rngs):
        strides = (stride, stride)
        self.conv1 = nnx.Conv(
            in_features, out_features, (3, 3), strides=strides, use_bias=False, rngs=rngs
        )
        self.norm1 = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(out_features, out_features, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)
        self.resized = stride != 1 or in_features != out_features
        if self.resized:
            self.shortcut = nnx.Conv(
                in_features, out_features, (1, 1), strides=strides, use_bias=False, rngs=rngs
            )
            self.shortcut_norm = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The sum before its ReLU, so that both are at hand."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.resized:
            x = self.shortcut_norm(self.shortcut(x))
        return x + y


class ResNet(nnx.Module):
    """The residual network for 32×32 images: three stages of basic blocks.

    `depth = 6n + 2` gives n blocks a stage: 8, 14, 20, 32, 44, 56, 110.

    Args:
      depth: number of layers with weights.
      in_channels: of the images.
      num_classes: width of the logits.
      widths: channels of the three stages.
      rngs: for the initial weights.

    Raises:
      ValueError: a depth that is not `6n + 2`.

    Example:
      >>> logits, features = ResNet(8, 1, 10, rngs=nnx.Rngs(0))(jnp.ones((2, 28, 28, 1)))
      >>> logits.shape, features["stage2"].shape
      ((2, 10), (2, 14, 14, 32))

    Reference:
      He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (16, 32, 64),
        rngs: nnx.Rngs,
    ):
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110), not {depth}")
        self.stem = nnx.Conv(in_channels, widths[0], (3, 3), use_bias=False, rngs=rngs)
        self.stem_norm = nnx.BatchNorm(widths[0], momentum=0.9, rngs=rngs)
        stages, before = [], widths[0]
        for index, width in enumerate(widths):
            blocks = []
            for position in range((depth - 2) // 6):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(_Block(before, width, stride, rngs=rngs))
                before = width
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Logits `[batch, num_classes]` of images `[batch, height, width, channels]`, and features.

        The features are the maps of the three stages, `preact1`, … before and `stage1`, … after
        ReLU, and `embedding`, the global average of the last.
        """
        features = {}
        x = nnx.relu(self.stem_norm(self.stem(inputs)))
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                before = block(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["embedding"] = x = jnp.mean(x, axis=(1, 2))
        return self.head(x), features
