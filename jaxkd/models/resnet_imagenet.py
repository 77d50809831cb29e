"""Residual networks for large images."""

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
from jaxkd.models.resnet import _Block, _Bottleneck
from jaxkd.ops import max_pool

# Kind and number of the blocks of the four stages, by the number of layers with weights.
_STAGES: dict[int, tuple[type[_Block] | type[_Bottleneck], tuple[int, ...]]] = {
    18: (_Block, (2, 2, 2, 2)),
    34: (_Block, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
    101: (_Bottleneck, (3, 4, 23, 3)),
    152: (_Bottleneck, (3, 8, 36, 3)),
}


class ImageNetResNet(nnx.Module):
    """The residual network for large images: a 7×7 convolution, max pooling and four stages.

    The bottlenecks of the deeper ones halve height and width in their 3×3 convolution, not in the
    1×1 one before it ("version 1.5"), as the weights that are passed around do.

    Args:
      depth: number of layers with weights: 18, 34, 50, 101 or 152.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      width: channels of the stem and of the first stage; every further stage doubles them, and the
        maps of bottlenecks have four times as many.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: the depth is another one.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return ImageNetResNet(50, 3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage4"].shape
      ((2, 1000), (2, 56, 56, 256), (2, 7, 7, 2048))

    Reference:
      He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.1; the place of
      the strides as in torchvision.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 64,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if depth not in _STAGES:
            raise ValueError(f"depth must be one of {sorted(_STAGES)}, not {depth}")
        block, counts = _STAGES[depth]
        self.in_channels = in_channels
        self.stem = conv(in_channels, width, 7, 2, rngs=rngs)
        self.stem_norm = norm(width, rngs=rngs)
        stages, before = [], width
        for index, count in enumerate(counts):
            blocks = []
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(before, width * 2**index, stride, norm=norm, rngs=rngs))
                before = width * 2**index * block.expansion
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are `stem`, the map after the first convolution's ReLU and before the pooling,
        the maps of the stages, `preact1`, … before and `stage1`, … after ReLU (a quarter of the
        images' height and width, then an eighth, …), and `embedding`, the global average of the
        last.
        """
        check_images(inputs, "ImageNetResNet", channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        x = max_pool(x, 3, 2, padding=1)
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                before = block(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["embedding"] = x = global_average(x)
        return self.head(x), features


ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        f"resnet{depth}",
        "resnet",
        maker(ImageNetResNet, depth),
        image_size=224,
        num_classes=1000,
        parameters=parameters,
        reference="He et al., 2016",
    )
    for depth, parameters in (
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    )
)
