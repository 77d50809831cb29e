"""MobileNetV2 for large images."""

import jax
from flax import nnx

from jaxkd.models._inverted_residual import InvertedResidual, run_stages
from jaxkd.models._layers import (
    ConvNorm,
    MakeNorm,
    batch_norm,
    check_images,
    global_average,
    make_divisible,
)
from jaxkd.models._registry import Entry, maker

# Expansion, channels at width 1, number of blocks, and stride of the first.
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(nnx.Module):
    """MobileNetV2: inverted residuals with linear bottlenecks, and ReLU6.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      width_factor: factor of all numbers of channels, the last 1280 only if it is above 1; these
        are rounded to multiples of 8.
      dropout_rate: share of the embedding set to zero in training.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights and for dropout.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return MobileNetV2(3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage4"].shape
      ((2, 1000), (2, 56, 56, 24), (2, 7, 7, 320))

    Reference:
      Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018; padding and
      dropout as in torchvision.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width_factor: float = 1.0,
        dropout_rate: float = 0.2,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        self.in_channels = in_channels
        before = make_divisible(32 * width_factor)
        self.stem = ConvNorm(in_channels, before, 3, 2, norm=norm, rngs=rngs)
        blocks = []
        for expansion, channels, count, stride in _GROUPS:
            width = make_divisible(channels * width_factor)
            for position in range(count):
                blocks.append(
                    InvertedResidual(
                        before,
                        before * expansion,
                        width,
                        3,
                        stride if position == 0 else 1,
                        activation=nnx.relu6,
                        norm=norm,
                        rngs=rngs,
                    )
                )
                before = width
        self.blocks = nnx.List(blocks)
        last = make_divisible(1280 * max(1.0, width_factor))
        self.last = ConvNorm(before, last, 1, norm=norm, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs if dropout_rate else None)
        self.head = nnx.Linear(last, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the map after the first convolution's activation;
        - `stage1` to `stage4`, the last map of a quarter, an eighth, … of the images' height and
          width. They end in a linear bottleneck without activation, so that `preact1` to `preact4`
          are the same maps;
        - `last`, the map of the last convolution after its activation;
        - `embedding`, its global average, before dropout.
        """
        check_images(inputs, "MobileNetV2", channels=self.in_channels)
        stem = nnx.relu6(self.stem(inputs))
        x, features = run_stages(self.blocks, stem)
        features["stem"] = stem
        features["last"] = x = nnx.relu6(self.last(x))
        features["embedding"] = x = global_average(x)
        return self.head(self.dropout(x)), features


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mobilenet_v2",
        "mobilenet",
        maker(MobileNetV2),
        image_size=224,
        num_classes=1000,
        parameters=3_504_872,
        reference="Sandler et al., 2018",
    ),
)
