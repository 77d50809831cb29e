"""ShuffleNet for small images."""

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

_STEM = 24


def shuffle_channels(x: jax.Array, groups: int) -> jax.Array:
    """Interleaves groups of channels: the first channel of every group, then the second, …."""
    shape = x.shape
    x = x.reshape(*shape[:-1], groups, shape[-1] // groups)
    return jnp.swapaxes(x, -1, -2).reshape(shape)


def check_stages(widths: Sequence[int], counts: Sequence[int]) -> None:
    """Refuses widths and counts of other than three stages."""
    if len(widths) != 3 or len(counts) != 3:
        raise ValueError(
            f"widths and counts must be those of three stages, not {tuple(widths)} and "
            f"{tuple(counts)}"
        )


class _GroupedUnit(nnx.Module):
    """ShuffleNet's unit: 1×1 convolutions in groups with a shuffle and a depthwise one between."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stride: int,
        groups: int,
        *,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        # Beside a pooled shortcut the unit only makes the channels that are new.
        made = out_features - in_features if stride == 2 else out_features
        mid = made // 4
        self.groups = 1 if in_features == _STEM else groups
        self.conv1 = conv(in_features, mid, 1, groups=self.groups, rngs=rngs)
        self.norm1 = norm(mid, rngs=rngs)
        self.conv2 = conv(mid, mid, 3, stride, groups=mid, rngs=rngs)
        self.norm2 = norm(mid, rngs=rngs)
        self.conv3 = conv(mid, made, 1, groups=groups, rngs=rngs)
        self.norm3 = norm(made, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map before the last ReLU."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = shuffle_channels(y, self.groups)
        # The original has no activation after the depthwise convolution; the networks of the
        # distillation benchmarks have one.
        y = nnx.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.stride == 1:
            return x + y
        pooled = nnx.avg_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        return jnp.concatenate([y, pooled], axis=-1)


class CifarShuffleNetV1(nnx.Module):
    """ShuffleNet for 32×32 images, as the distillation literature uses it.

    A 1×1 convolution for a stem, so that the first stage sees the images at full size.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      widths: channels of the three stages; each halves height and width.
      counts: units of the stages.
      groups: number of groups of the 1×1 convolutions.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: widths and counts of other than three stages, or widths that do not fall into
        the groups.

    Example:
      >>> def run(images):
      ...   return CifarShuffleNetV1(3, 100, rngs=nnx.Rngs(0))(images)
      >>> logits, features = jax.eval_shape(run, jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage2"].shape
      ((2, 100), (2, 8, 8, 480))

    Reference:
      Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
      Devices, CVPR 2018; for small images as in RepDistiller.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (240, 480, 960),
        counts: Sequence[int] = (4, 8, 4),
        groups: int = 3,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        check_stages(widths, counts)
        before = _STEM
        for width in widths:
            if (width - before) % (4 * groups) or width % (4 * groups) or width <= before:
                raise ValueError(
                    f"widths {tuple(widths)} after the stem's {_STEM} must grow, and grow by "
                    f"multiples of {4 * groups}, four times the {groups} groups"
                )
            before = width
        self.in_channels = in_channels
        self.stem = conv(in_channels, _STEM, 1, rngs=rngs)
        self.stem_norm = norm(_STEM, rngs=rngs)
        stages, before = [], _STEM
        for width, count in zip(widths, counts, strict=True):
            units = []
            for position in range(count):
                stride = 2 if position == 0 else 1
                units.append(_GroupedUnit(before, width, stride, groups, norm=norm, rngs=rngs))
                before = width
            stages.append(nnx.List(units))
        self.stages = nnx.List(stages)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are `stem`, the map after the first convolution's ReLU, the maps of the stages,
        `preact1`, … before and `stage1`, … after ReLU, and `embedding`, the global average of the
        last.
        """
        check_images(inputs, "CifarShuffleNetV1", channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        for number, stage in enumerate(self.stages, 1):
            for unit in stage:
                before = unit(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["embedding"] = x = global_average(x)
        return self.head(x), features


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "shufflenet_v1_cifar",
        "shufflenet",
        maker(CifarShuffleNetV1),
        image_size=32,
        num_classes=100,
        parameters=949_258,
        reference="Zhang et al., 2018",
    ),
)
