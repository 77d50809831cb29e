"""MobileNetV1."""

import jax
from flax import nnx

from jaxkd.models._layers import (
    ConvNorm,
    MakeNorm,
    batch_norm,
    check_images,
    global_average,
    make_divisible,
)
from jaxkd.models._registry import Entry, maker

# Channels at width 1 and number of blocks; every group but the first halves height and width.
_GROUPS = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))


class _Separable(nnx.Module):
    """A depthwise 3×3 convolution and a 1×1 one."""

    def __init__(
        self, in_features: int, out_features: int, stride: int, *, norm: MakeNorm, rngs: nnx.Rngs
    ):
        self.depthwise = ConvNorm(
            in_features, in_features, 3, stride, groups=in_features, norm=norm, rngs=rngs
        )
        self.pointwise = ConvNorm(in_features, out_features, 1, norm=norm, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map before the last activation."""
        return self.pointwise(nnx.relu6(self.depthwise(x)))


class MobileNetV1(nnx.Module):
    """MobileNet: alternating depthwise and 1×1 convolutions, each with ReLU6.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      width_factor: factor of all numbers of channels; they are rounded to multiples of 8.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return MobileNetV1(3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage4"].shape
      ((2, 1000), (2, 56, 56, 128), (2, 7, 7, 1024))

    Reference:
      Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
      Applications, 2017; padding and ReLU6 as in timm.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width_factor: float = 1.0,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        self.in_channels = in_channels
        before = make_divisible(32 * width_factor)
        self.stem = ConvNorm(in_channels, before, 3, 2, norm=norm, rngs=rngs)
        groups = []
        for index, (channels, count) in enumerate(_GROUPS):
            width, blocks = make_divisible(channels * width_factor), []
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(_Separable(before, width, stride, norm=norm, rngs=rngs))
                before = width
            groups.append(nnx.List(blocks))
        self.groups = nnx.List(groups)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are `stem`, the map after the first convolution's activation, `preact1` to
        `preact4` and `stage1` to `stage4`, the last map of a quarter, an eighth, … of the images'
        height and width before and after the activation, and `embedding`, the global average of
        the last.
        """
        check_images(inputs, "MobileNetV1", channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu6(self.stem(inputs))
        for number, group in enumerate(self.groups):
            for block in group:
                before = block(x)
                x = nnx.relu6(before)
            if number:
                features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["embedding"] = x = global_average(x)
        return self.head(x), features


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mobilenet_v1",
        "mobilenet",
        maker(MobileNetV1),
        image_size=224,
        num_classes=1000,
        parameters=4_231_976,
        reference="Howard et al., 2017",
    ),
)
