"""Residual networks for small images."""

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


class _Block(nnx.Module):
    """Two 3×3 convolutions with normalization beside a shortcut."""

    expansion = 1

    def __init__(
        self, in_features: int, width: int, stride: int, *, norm: MakeNorm, rngs: nnx.Rngs
    ):
        self.conv1 = conv(in_features, width, 3, stride, rngs=rngs)
        self.norm1 = norm(width, rngs=rngs)
        self.conv2 = conv(width, width, 3, rngs=rngs)
        self.norm2 = norm(width, rngs=rngs)
        self.resized = stride != 1 or in_features != width
        if self.resized:
            self.shortcut = conv(in_features, width, 1, stride, rngs=rngs)
            self.shortcut_norm = norm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the sum before its ReLU, so that the caller has both."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.resized:
            x = self.shortcut_norm(self.shortcut(x))
        return x + y


class _Bottleneck(nnx.Module):
    """A 3×3 convolution between two 1×1 ones, the last four times as wide, beside a shortcut."""

    expansion = 4

    def __init__(
        self, in_features: int, width: int, stride: int, *, norm: MakeNorm, rngs: nnx.Rngs
    ):
        out_features = width * self.expansion
        self.conv1 = conv(in_features, width, 1, rngs=rngs)
        self.norm1 = norm(width, rngs=rngs)
        self.conv2 = conv(width, width, 3, stride, rngs=rngs)
        self.norm2 = norm(width, rngs=rngs)
        self.conv3 = conv(width, out_features, 1, rngs=rngs)
        self.norm3 = norm(out_features, rngs=rngs)
        self.resized = stride != 1 or in_features != out_features
        if self.resized:
            self.shortcut = conv(in_features, out_features, 1, stride, rngs=rngs)
            self.shortcut_norm = norm(out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the sum before its ReLU, so that the caller has both."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = nnx.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.resized:
            x = self.shortcut_norm(self.shortcut(x))
        return x + y


class _Residual(nnx.Module):
    """Stem, stages of blocks and head; every stage but the first halves height and width."""

    def __init__(
        self,
        block: type[_Block] | type[_Bottleneck],
        counts: Sequence[int],
        widths: Sequence[int],
        stem_width: int,
        in_channels: int,
        num_classes: int,
        *,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        self.in_channels = in_channels
        self.stem = conv(in_channels, stem_width, 3, rngs=rngs)
        self.stem_norm = norm(stem_width, rngs=rngs)
        stages, before = [], stem_width
        for index, (count, width) in enumerate(zip(counts, widths, strict=True)):
            blocks = []
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(before, width, stride, norm=norm, rngs=rngs))
                before = width * block.expansion
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are `stem`, the map after the first convolution's ReLU, the maps of the stages,
        `preact1`, … before and `stage1`, … after ReLU, and `embedding`, the global average of the
        last.
        """
        check_images(inputs, type(self).__name__, channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        for number, stage in enumerate(self.stages, 1):
            for block in stage:
                before = block(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["embedding"] = x = global_average(x)
        return self.head(x), features


class ResNet(_Residual):
    """The residual network for 32×32 images: three stages of basic blocks.

    `depth = 6n + 2` gives n blocks a stage: 8, 14, 20, 32, 44, 56, 110. The networks that the
    distillation literature calls 8x4 and 32x4 have `widths=(64, 128, 256)` and `stem_width=32`.

    Args:
      depth: number of layers with weights.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      widths: channels of the three stages.
      stem_width: channels of the first convolution; by default those of the first stage.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: a depth that is not `6n + 2`, or other than three widths.

    Example:
      >>> import jax.numpy as jnp
      >>> logits, features = ResNet(8, 1, 10, rngs=nnx.Rngs(0))(jnp.ones((2, 28, 28, 1)))
      >>> logits.shape, features["stage2"].shape
      ((2, 10), (2, 14, 14, 32))

    Reference:
      He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2; with
      projections for shortcuts, as in RepDistiller.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (16, 32, 64),
        stem_width: int | None = None,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110), not {depth}")
        if len(widths) != 3:
            raise ValueError(f"widths must be those of three stages, not {tuple(widths)}")
        counts = [(depth - 2) // 6] * 3
        stem_width = widths[0] if stem_width is None else stem_width
        super().__init__(
            _Block, counts, widths, stem_width, in_channels, num_classes, norm=norm, rngs=rngs
        )


class BottleneckResNet(_Residual):
    """The residual network of bottlenecks with a stem for 32×32 images.

    The networks for ImageNet, with a 3×3 convolution of stride 1 in the place of the 7×7 one and
    its pooling.

    Args:
      counts: blocks of each stage; `(3, 4, 6, 3)` is ResNet-50.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      widths: channels inside the bottlenecks of each stage; the maps have four times as many.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: the numbers of widths and of stages differ.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...   return BottleneckResNet((3, 4, 6, 3), 3, 100, rngs=nnx.Rngs(0))(images)
      >>> logits, features = jax.eval_shape(run, jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage2"].shape
      ((2, 100), (2, 16, 16, 512))

    Reference:
      He et al., Deep Residual Learning for Image Recognition, CVPR 2016; the stem as in
      RepDistiller.
    """

    def __init__(
        self,
        counts: Sequence[int],
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if len(widths) != len(counts):
            raise ValueError(f"{len(counts)} stages need as many widths, not {len(widths)}")
        super().__init__(
            _Bottleneck, counts, widths, widths[0], in_channels, num_classes, norm=norm, rngs=rngs
        )


_REFERENCE = "He et al., 2016"
_COUNTS = {
    8: 83_892,
    14: 181_108,
    20: 278_324,
    32: 472_756,
    44: 667_188,
    56: 861_620,
    110: 1_736_564,
}

ENTRIES: tuple[Entry, ...] = (
    *(
        Entry(
            f"resnet{depth}",
            "resnet",
            maker(ResNet, depth),
            image_size=32,
            num_classes=100,
            parameters=parameters,
            reference=_REFERENCE,
        )
        for depth, parameters in _COUNTS.items()
    ),
    *(
        Entry(
            f"resnet{depth}x4",
            "resnet",
            maker(ResNet, depth, widths=(64, 128, 256), stem_width=32),
            image_size=32,
            num_classes=100,
            parameters=parameters,
            reference=_REFERENCE,
        )
        for depth, parameters in {8: 1_233_540, 32: 7_433_860}.items()
    ),
    # Half as wide, for experiments on processors; nobody published them.
    *(
        Entry(
            f"resnet{depth}x0.5",
            "resnet",
            maker(ResNet, depth, widths=(8, 16, 32)),
            image_size=32,
            num_classes=100,
            parameters=None,
            reference=_REFERENCE,
        )
        for depth in (8, 14, 20)
    ),
    Entry(
        "resnet50_cifar",
        "resnet",
        maker(BottleneckResNet, (3, 4, 6, 3)),
        image_size=32,
        num_classes=100,
        parameters=23_705_252,
        reference=_REFERENCE,
    ),
)
