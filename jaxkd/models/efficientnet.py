"""EfficientNet."""

import itertools
import math

import jax
from flax import nnx

from jaxkd.models._inverted_residual import InvertedResidual, SqueezeExcite, run_stages
from jaxkd.models._layers import (
    ConvNorm,
    MakeNorm,
    batch_norm,
    check_images,
    global_average,
    make_divisible,
)
from jaxkd.models._registry import Entry, maker

# Expansion, kernel, stride of the first block, channels and number of blocks of EfficientNet-B0.
_GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNet(nnx.Module):
    """EfficientNet: inverted residuals with scaled channels, and SiLU.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      width_factor: factor of all numbers of channels; they are rounded to multiples of 8. 1 is
        EfficientNet-B0.
      depth_factor: factor of all numbers of blocks; they are rounded up.
      dropout_rate: share of the embedding set to zero in training.
      stochastic_depth_rate: share of the examples for which the last block is skipped in training;
        it grows evenly from 0 at the first block.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights, dropout and stochastic depth.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return EfficientNet(3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage4"].shape
      ((2, 1000), (2, 56, 56, 24), (2, 7, 7, 320))

    Reference:
      Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML
      2019; padding and the constants of the normalization as in torchvision. Huang et al., Deep
      Networks with Stochastic Depth, ECCV 2016.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width_factor: float = 1.0,
        depth_factor: float = 1.0,
        dropout_rate: float = 0.2,
        stochastic_depth_rate: float = 0.2,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        self.in_channels = in_channels
        before = make_divisible(32 * width_factor)
        self.stem = ConvNorm(in_channels, before, 3, 2, norm=norm, rngs=rngs)
        counts = [math.ceil(count * depth_factor) for *_, count in _GROUPS]
        groups, made = [], 0
        for (expansion, kernel, stride, channels, _), count in zip(_GROUPS, counts, strict=True):
            width, blocks = make_divisible(channels * width_factor), []
            for position in range(count):
                wide = make_divisible(before * expansion)
                squeeze = SqueezeExcite(
                    wide, max(1, before // 4), activation=nnx.silu, gate=nnx.sigmoid, rngs=rngs
                )
                blocks.append(
                    InvertedResidual(
                        before,
                        wide,
                        width,
                        kernel,
                        stride if position == 0 else 1,
                        activation=nnx.silu,
                        squeeze=squeeze,
                        stochastic_depth_rate=stochastic_depth_rate * made / sum(counts),
                        norm=norm,
                        rngs=rngs,
                    )
                )
                before, made = width, made + 1
            groups.append(nnx.List(blocks))
        self.groups = nnx.List(groups)
        last = 4 * before
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
        check_images(inputs, "EfficientNet", channels=self.in_channels)
        stem = nnx.silu(self.stem(inputs))
        x, features = run_stages(itertools.chain(*self.groups), stem)
        features["stem"] = stem
        features["last"] = x = nnx.silu(self.last(x))
        features["embedding"] = x = global_average(x)
        return self.head(self.dropout(x)), features


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "efficientnet_b0",
        "efficientnet",
        maker(EfficientNet),
        image_size=224,
        num_classes=1000,
        parameters=5_288_548,
        reference="Tan and Le, 2019",
    ),
)
