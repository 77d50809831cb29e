"""MobileNetV2 for small images."""

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

# Expansion, channels at width 1, blocks and stride of the seven groups.
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The groups whose ends are the features stage1, …: where the map is about to shrink, and the last.
_STAGES = {1: 1, 2: 2, 4: 3, 6: 4}


class _Inverted(nnx.Module):
    """A depthwise convolution between a 1×1 one that widens and a linear one that narrows."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        expansion: int,
        stride: int,
        *,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        wide = in_features * expansion
        self.expand = conv(in_features, wide, 1, rngs=rngs)
        self.expand_norm = norm(wide, rngs=rngs)
        self.depthwise = conv(wide, wide, 3, stride, groups=wide, rngs=rngs)
        self.depthwise_norm = norm(wide, rngs=rngs)
        self.project = conv(wide, out_features, 1, rngs=rngs)
        self.project_norm = norm(out_features, rngs=rngs)
        self.residual = stride == 1 and in_features == out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map, without an activation at the end."""
        y = nnx.relu(self.expand_norm(self.expand(x)))
        y = nnx.relu(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class CifarMobileNetV2(nnx.Module):
    """MobileNetV2 for 32×32 images, as the distillation literature uses it.

    The stem and three groups halve height and width, one fewer than for ImageNet. Unlike the
    original, the first group has its (not widening) 1×1 convolution as well, the activation is ReLU
    and not ReLU6, and channels are rounded down.

    Args:
      width_factor: factor of all numbers of channels but the last 1280, which only grow with it;
        the literature's student has 0.5.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: a factor that leaves a layer no channel.

    Example:
      >>> import jax.numpy as jnp
      >>> def run(images):
      ...   return CifarMobileNetV2(0.5, 3, 100, rngs=nnx.Rngs(0))(images)
      >>> logits, features = jax.eval_shape(run, jnp.ones((2, 32, 32, 3)))
      >>> logits.shape, features["stage2"].shape
      ((2, 100), (2, 8, 8, 16))

    Reference:
      Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018; for small
      images as in RepDistiller.
    """

    def __init__(
        self,
        width_factor: float,
        in_channels: int,
        num_classes: int,
        *,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        if int(16 * width_factor) < 1:
            raise ValueError(f"width_factor must be at least 1/16, not {width_factor}")
        self.in_channels = in_channels
        before = int(32 * width_factor)
        self.stem = conv(in_channels, before, 3, 2, rngs=rngs)
        self.stem_norm = norm(before, rngs=rngs)
        groups = []
        for expansion, channels, count, stride in _GROUPS:
            width, blocks = int(channels * width_factor), []
            for position in range(count):
                step = stride if position == 0 else 1
                blocks.append(_Inverted(before, width, expansion, step, norm=norm, rngs=rngs))
                before = width
            groups.append(nnx.List(blocks))
        self.groups = nnx.List(groups)
        last = int(1280 * max(1.0, width_factor))
        self.last = conv(before, last, 1, rngs=rngs)
        self.last_norm = norm(last, rngs=rngs)
        self.head = nnx.Linear(last, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the map after the first convolution's ReLU;
        - `stage1` to `stage4`, the maps of the second, third, fifth and last group. They end in a
          linear bottleneck without activation, so that `preact1` to `preact4` are the same maps;
        - `last`, the map of the last convolution after ReLU;
        - `embedding`, its global average.
        """
        check_images(inputs, "CifarMobileNetV2", channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        for index, group in enumerate(self.groups):
            for block in group:
                x = block(x)
            if index in _STAGES:
                number = _STAGES[index]
                features[f"preact{number}"] = features[f"stage{number}"] = x
        features["last"] = x = nnx.relu(self.last_norm(self.last(x)))
        features["embedding"] = x = global_average(x)
        return self.head(x), features


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "mobilenet_v2_cifar",
        "mobilenet",
        maker(CifarMobileNetV2, 0.5),
        image_size=32,
        num_classes=100,
        parameters=812_836,
        reference="Sandler et al., 2018",
    ),
)
