"""VGG for small images: the convolutions, and one dense layer on their average."""

from collections.abc import Sequence

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
from jaxkd.ops import max_pool

# Convolutions of the five blocks, by the number of layers with weights in the network.
_COUNTS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class _Layer(nnx.Module):
    """A 3×3 convolution and its normalization."""

    def __init__(self, in_features: int, out_features: int, *, norm: MakeNorm, rngs: nnx.Rngs):
        self.conv = conv(in_features, out_features, 3, use_bias=True, rngs=rngs)
        self.norm = norm(out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map before the ReLU."""
        return self.norm(self.conv(x))


class VGG(nnx.Module):
    """VGG with normalization for 32×32 or 64×64 images, without the hidden dense layers.

    Five blocks of 3×3 convolutions with max pooling after the first three, and after the fourth
    where images have 64 pixels a side or more.

    Args:
      depth: number of layers with weights in the original network: 8, 11, 13, 16 or 19. (Of its
        three dense layers one is left.)
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      widths: channels of the five blocks.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: a depth that is not among those, or other than five widths.

    Example:
      >>> import jax.numpy as jnp
      >>> model = VGG(8, 3, 10, widths=(8, 16, 16, 32, 32), rngs=nnx.Rngs(0))
      >>> logits, features = model(jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage4"].shape
      ((2, 10), (2, 4, 4, 32))

    Reference:
      Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition,
      ICLR 2015; for small images as in RepDistiller.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if depth not in _COUNTS:
            raise ValueError(f"depth must be one of {sorted(_COUNTS)}, not {depth}")
        if len(widths) != 5:
            raise ValueError(f"widths must be those of five blocks, not {tuple(widths)}")
        self.in_channels = in_channels
        blocks, before = [], in_channels
        for count, width in zip(_COUNTS[depth], widths, strict=True):
            layers = []
            for _ in range(count):
                layers.append(_Layer(before, width, norm=norm, rngs=rngs))
                before = width
            blocks.append(nnx.List(layers))
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are `stem`, the map of the first block after its last ReLU, the maps of the
        other four, `preact1`, … before and `stage1`, … after their last ReLU, and `embedding`, the
        global average of the last.
        """
        check_images(inputs, "VGG", channels=self.in_channels, smallest=8)
        poolings = 4 if min(inputs.shape[1:3]) >= 64 else 3
        features, x = {}, inputs
        for number, block in enumerate(self.blocks):
            if 1 <= number <= poolings:
                x = max_pool(x)
            for layer in block:
                before = layer(x)
                x = nnx.relu(before)
            if number:
                features[f"preact{number}"], features[f"stage{number}"] = before, x
            else:
                features["stem"] = x
        features["embedding"] = x = global_average(x)
        return self.head(x), features


ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        f"vgg{depth}",
        "vgg",
        maker(VGG, depth),
        image_size=32,
        num_classes=100,
        parameters=parameters,
        reference="Simonyan and Zisserman, 2015",
    )
    for depth, parameters in (
        (8, 3_965_028),
        (11, 9_277_284),
        (13, 9_462_180),
        (16, 14_774_436),
        (19, 20_086_692),
    )
)
