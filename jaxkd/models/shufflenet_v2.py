"""ShuffleNetV2, for large images and for small ones."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._layers import (
    MakeNorm,
    batch_norm,
    check_images,
    conv,
    global_average,
)
from jaxkd.models._registry import Entry, maker
from jaxkd.models.shufflenet_v1 import check_stages, shuffle_channels
from jaxkd.ops import max_pool

_STEM = 24


class _Branch(nnx.Module):
    """ShuffleNetV2's branch: a depthwise convolution between two 1×1 ones.

    Args:
      first: whether there is the first 1×1 convolution.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stride: int,
        *,
        first: bool = True,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        self.first = first
        mid = out_features if first else in_features
        if first:
            self.conv1 = conv(in_features, mid, 1, rngs=rngs)
            self.norm1 = norm(mid, rngs=rngs)
        self.conv2 = conv(mid, mid, 3, stride, groups=mid, rngs=rngs)
        self.norm2 = norm(mid, rngs=rngs)
        self.conv3 = conv(mid, out_features, 1, rngs=rngs)
        self.norm3 = norm(out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map before the last ReLU."""
        if self.first:
            x = nnx.relu(self.norm1(self.conv1(x)))
        return self.norm3(self.conv3(self.norm2(self.conv2(x))))


class _SplitUnit(nnx.Module):
    """ShuffleNetV2's unit: half of the channels pass by, or go through a branch of their own."""

    def __init__(
        self, in_features: int, out_features: int, stride: int, *, norm: MakeNorm, rngs: nnx.Rngs
    ):
        self.halves = stride == 2
        half = out_features // 2
        if self.halves:
            self.shortcut = _Branch(in_features, half, 2, first=False, norm=norm, rngs=rngs)
        self.branch = _Branch(
            in_features if self.halves else half, half, stride, norm=norm, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Before the last ReLU; what passes by has had its own."""
        if self.halves:
            kept, changed = self.shortcut(x), x
        else:
            kept, changed = jnp.split(x, 2, axis=-1)
        return shuffle_channels(jnp.concatenate([kept, self.branch(changed)], axis=-1), 2)


class ShuffleNetV2(nnx.Module):
    """ShuffleNetV2: units through which half of the channels pass, shuffled behind each.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      widths: channels of the three stages, even numbers; by default those of width 1.0×.
      counts: units of the stages; the first of each halves height and width.
      last_width: channels of the last convolution.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: widths and counts of other than three stages, or odd widths.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return ShuffleNetV2(3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage3"].shape
      ((2, 1000), (2, 28, 28, 116), (2, 7, 7, 464))

    Reference:
      Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV
      2018; the order of the channels as in torchvision.
    """

    # Of the stem's convolution, and whether its maps are pooled.
    stem_kernel, stem_stride, pooled = 3, 2, True

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (116, 232, 464),
        counts: Sequence[int] = (4, 8, 4),
        last_width: int = 1024,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        check_stages(widths, counts)
        if any(width % 2 for width in widths):
            raise ValueError(
                f"widths must be even, their halves take two ways; not {tuple(widths)}"
            )
        self.in_channels = in_channels
        self.stem = conv(in_channels, _STEM, self.stem_kernel, self.stem_stride, rngs=rngs)
        self.stem_norm = norm(_STEM, rngs=rngs)
        stages, before = [], _STEM
        for width, count in zip(widths, counts, strict=True):
            units = []
            for position in range(count):
                stride = 2 if position == 0 else 1
                units.append(_SplitUnit(before, width, stride, norm=norm, rngs=rngs))
                before = width
            stages.append(nnx.List(units))
        self.stages = nnx.List(stages)
        self.last = conv(before, last_width, 1, rngs=rngs)
        self.last_norm = norm(last_width, rngs=rngs)
        self.head = nnx.Linear(last_width, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the map after the first convolution's ReLU, before the pooling if there is one;
        - `preact1`, … and `stage1`, …, the maps of the stages before and after ReLU, with the
          channels shuffled in both. Half of the channels pass the last unit by, and are the same;
        - `last`, the map of the last convolution after ReLU;
        - `embedding`, its global average.
        """
        check_images(inputs, type(self).__name__, channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        if self.pooled:
            x = max_pool(x, 3, 2, padding=1)
        for number, stage in enumerate(self.stages, 1):
            for unit in stage:
                before = unit(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["last"] = x = nnx.relu(self.last_norm(self.last(x)))
        features["embedding"] = x = global_average(x)
        return self.head(x), features


class CifarShuffleNetV2(ShuffleNetV2):
    """ShuffleNetV2 for 32×32 images, as the distillation literature uses it.

    A 1×1 convolution for a stem and no pooling, so that the first stage sees the images at full
    size; the arguments are those of `ShuffleNetV2`.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...     return CifarShuffleNetV2(3, 100, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage2"].shape
      ((2, 100), (2, 8, 8, 232))

    Reference:
      As of `ShuffleNetV2`; for small images as in RepDistiller.
    """

    stem_kernel, stem_stride, pooled = 1, 1, False


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "shufflenet_v2_cifar",
        "shufflenet",
        maker(CifarShuffleNetV2),
        image_size=32,
        num_classes=100,
        parameters=1_355_528,
        reference="Ma et al., 2018",
    ),
    Entry(
        "shufflenet_v2",
        "shufflenet",
        maker(ShuffleNetV2),
        image_size=224,
        num_classes=1000,
        parameters=2_278_604,
        reference="Ma et al., 2018",
    ),
)
