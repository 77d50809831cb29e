"""ShuffleNets for small images."""

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
    make_norm,
)
from jaxkd.models._registry import Entry

_STEM = 24


def shuffle_channels(x: jax.Array, groups: int) -> jax.Array:
    """Deals the channels out in turn: first those that come first in their group, and so on."""
    shape = x.shape
    x = x.reshape(*shape[:-1], groups, shape[-1] // groups)
    return jnp.swapaxes(x, -1, -2).reshape(shape)


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
        """Before the last ReLU."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = shuffle_channels(y, self.groups)
        # The original has no activation behind the depthwise convolution, the benchmarks' has.
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
      in_channels: of the images.
      num_classes: width of the logits.
      widths: channels of the three stages; each halves height and width.
      counts: units of the stages.
      groups: of the 1×1 convolutions.
      norm: makes the normalisations.
      rngs: for the initial weights.

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
        _check_stages(widths, counts)
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
        """Logits `[batch, num_classes]` of images `[batch, height, width, channels]`, and features.

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
        """Before the last ReLU."""
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


class CifarShuffleNetV2(nnx.Module):
    """ShuffleNetV2 for 32×32 images, as the distillation literature uses it.

    A 1×1 convolution for a stem, so that the first stage sees the images at full size. A stage has
    one unit that halves height and width, and `counts` after it.

    Args:
      in_channels: of the images.
      num_classes: width of the logits.
      widths: channels of the three stages, even numbers.
      counts: units of the stages after the first, which halves.
      last_width: channels of the last convolution.
      norm: makes the normalisations.
      rngs: for the initial weights.

    Raises:
      ValueError: widths and counts of other than three stages, or odd widths.

    Example:
      >>> def run(images):
      ...   return CifarShuffleNetV2(3, 100, rngs=nnx.Rngs(0))(images)
      >>> logits, features = jax.eval_shape(run, jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage2"].shape
      ((2, 100), (2, 8, 8, 232))

    Reference:
      Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV
      2018; for small images as in RepDistiller.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (116, 232, 464),
        counts: Sequence[int] = (3, 7, 3),
        last_width: int = 1024,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        _check_stages(widths, counts)
        if any(width % 2 for width in widths):
            raise ValueError(
                f"widths must be even, their halves take two ways; not {tuple(widths)}"
            )
        self.in_channels = in_channels
        self.stem = conv(in_channels, _STEM, 1, rngs=rngs)
        self.stem_norm = norm(_STEM, rngs=rngs)
        stages, before = [], _STEM
        for width, count in zip(widths, counts, strict=True):
            units = []
            for position in range(1 + count):
                stride = 2 if position == 0 else 1
                units.append(_SplitUnit(before, width, stride, norm=norm, rngs=rngs))
                before = width
            stages.append(nnx.List(units))
        self.stages = nnx.List(stages)
        self.last = conv(before, last_width, 1, rngs=rngs)
        self.last_norm = norm(last_width, rngs=rngs)
        self.head = nnx.Linear(last_width, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Logits `[batch, num_classes]` of images `[batch, height, width, channels]`, and features.

        The features are

        - `stem`, the map after the first convolution's ReLU;
        - `preact1`, … and `stage1`, …, the maps of the stages before and after ReLU, with the
          channels shuffled in both. Half of the channels pass the last unit by, and are the same;
        - `last`, the map of the last convolution after ReLU;
        - `embedding`, its global average.
        """
        check_images(inputs, "CifarShuffleNetV2", channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        for number, stage in enumerate(self.stages, 1):
            for unit in stage:
                before = unit(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["last"] = x = nnx.relu(self.last_norm(self.last(x)))
        features["embedding"] = x = global_average(x)
        return self.head(x), features


def _check_stages(widths: Sequence[int], counts: Sequence[int]) -> None:
    if len(widths) != 3 or len(counts) != 3:
        raise ValueError(
            f"widths and counts must be those of three stages, not {tuple(widths)} and "
            f"{tuple(counts)}"
        )


def _shufflenet_v1(
    *, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs
) -> CifarShuffleNetV1:
    del image_size
    return CifarShuffleNetV1(in_channels, num_classes, norm=make_norm(norm), rngs=rngs)


def _shufflenet_v2(
    *, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs
) -> CifarShuffleNetV2:
    del image_size
    return CifarShuffleNetV2(in_channels, num_classes, norm=make_norm(norm), rngs=rngs)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "shufflenet_v1_cifar",
        "shufflenet",
        _shufflenet_v1,
        image_size=32,
        num_classes=100,
        parameters=949_258,
        reference="Zhang et al., 2018",
    ),
    Entry(
        "shufflenet_v2_cifar",
        "shufflenet",
        _shufflenet_v2,
        image_size=32,
        num_classes=100,
        parameters=1_355_528,
        reference="Ma et al., 2018",
    ),
)
