"""MobileNetV3."""

import functools

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

# Kernel, channels inside, channels out, whether channels are scaled, whether the activation is
# hard-swish instead of ReLU, stride: tables 1 and 2 of the paper.
_BLOCKS = {
    "large": (
        (3, 16, 16, False, False, 1),
        (3, 64, 24, False, False, 2),
        (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2),
        (5, 120, 40, True, False, 1),
        (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2),
        (3, 200, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 480, 112, True, True, 1),
        (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2),
        (5, 960, 160, True, True, 1),
        (5, 960, 160, True, True, 1),
    ),
    "small": (
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1),
        (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1),
        (5, 576, 96, True, True, 1),
    ),
}
_HIDDEN = {"large": 1280, "small": 1024}


class MobileNetV3(nnx.Module):
    """MobileNetV3: inverted residuals, some of them with scaled channels, and hard-swish.

    Args:
      size: `"small"` or `"large"`.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      width_factor: factor of all numbers of channels; they are rounded to multiples of 8.
      dropout_rate: share of the embedding set to zero in training.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights and for dropout.

    Raises:
      ValueError: the size is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return MobileNetV3("small", 3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage4"].shape
      ((2, 1000), (2, 56, 56, 16), (2, 7, 7, 96))

    Reference:
      Howard et al., Searching for MobileNetV3, ICCV 2019; padding and dropout as in torchvision.
    """

    def __init__(
        self,
        size: str,
        in_channels: int,
        num_classes: int,
        *,
        width_factor: float = 1.0,
        dropout_rate: float = 0.2,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if size not in _BLOCKS:
            raise ValueError(f"size must be one of {sorted(_BLOCKS)}, not {size!r}")
        norm = functools.partial(norm, epsilon=1e-3, momentum=0.99)
        self.in_channels = in_channels
        before = make_divisible(16 * width_factor)
        self.stem = ConvNorm(in_channels, before, 3, 2, norm=norm, rngs=rngs)
        blocks = []
        for kernel, inside, channels, scaled, hard, stride in _BLOCKS[size]:
            wide, width = (make_divisible(c * width_factor) for c in (inside, channels))
            squeeze = None
            if scaled:
                squeeze = SqueezeExcite(
                    wide,
                    make_divisible(wide // 4),
                    activation=nnx.relu,
                    gate=nnx.hard_sigmoid,
                    rngs=rngs,
                )
            blocks.append(
                InvertedResidual(
                    before,
                    wide,
                    width,
                    kernel,
                    stride,
                    activation=nnx.hard_swish if hard else nnx.relu,
                    squeeze=squeeze,
                    norm=norm,
                    rngs=rngs,
                )
            )
            before = width
        self.blocks = nnx.List(blocks)
        self.last = ConvNorm(before, 6 * before, 1, norm=norm, rngs=rngs)
        hidden = make_divisible(_HIDDEN[size] * width_factor)
        self.hidden = nnx.Linear(6 * before, hidden, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs if dropout_rate else None)
        self.head = nnx.Linear(hidden, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the map after the first convolution's activation;
        - `stage1` to `stage4`, the last map of a quarter, an eighth, … of the images' height and
          width. They end in a linear bottleneck without activation, so that `preact1` to `preact4`
          are the same maps;
        - `last`, the map of the last convolution after its activation;
        - `embedding`, the dense layer on its global average after its activation, before dropout.
        """
        check_images(inputs, "MobileNetV3", channels=self.in_channels)
        stem = nnx.hard_swish(self.stem(inputs))
        x, features = run_stages(self.blocks, stem)
        features["stem"] = stem
        features["last"] = x = nnx.hard_swish(self.last(x))
        features["embedding"] = x = nnx.hard_swish(self.hidden(global_average(x)))
        return self.head(self.dropout(x)), features


ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        f"mobilenet_v3_{size}",
        "mobilenet",
        maker(MobileNetV3, size),
        image_size=224,
        num_classes=1000,
        parameters=parameters,
        reference="Howard et al., 2019",
    )
    for size, parameters in (("small", 2_542_856), ("large", 5_483_032))
)
