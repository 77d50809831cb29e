"""ShuffleNetV2 for large images."""

from collections.abc import Sequence

import jax
from flax import nnx

from jaxkd.models._layers import (
    MakeNorm,
    batch_norm,
    check_images,
    conv,
    global_average,
    make_norm,
    max_pool,
)
from jaxkd.models._registry import Entry
from jaxkd.models._shufflenet_cifar import _check_stages, _SplitUnit

_STEM = 24


class ShuffleNetV2(nnx.Module):
    """ShuffleNetV2: units through which half of the channels pass, shuffled behind each.

    Args:
      in_channels: of the images.
      num_classes: width of the logits.
      widths: channels of the three stages, even numbers; by default those of width 1.0×.
      counts: units of the stages; the first of each halves height and width.
      last_width: channels of the last convolution.
      norm: makes the normalisations.
      rngs: for the initial weights.

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
        _check_stages(widths, counts)
        if any(width % 2 for width in widths):
            raise ValueError(
                f"widths must be even, their halves take two ways; not {tuple(widths)}"
            )
        self.in_channels = in_channels
        self.stem = conv(in_channels, _STEM, 3, 2, rngs=rngs)
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
        """Logits `[batch, num_classes]` of images `[batch, height, width, channels]`, and features.

        The features are

        - `stem`, the map after the first convolution's ReLU and before the pooling;
        - `preact1`, … and `stage1`, …, the maps of the stages before and after ReLU (an eighth of
          the images' height and width, a sixteenth, a thirty-second), with the channels shuffled in
          both. Half of the channels pass the last unit by, and are the same;
        - `last`, the map of the last convolution after ReLU;
        - `embedding`, its global average.
        """
        check_images(inputs, "ShuffleNetV2", channels=self.in_channels)
        features = {}
        features["stem"] = x = nnx.relu(self.stem_norm(self.stem(inputs)))
        x = max_pool(x, 3, 2, padding=1)
        for number, stage in enumerate(self.stages, 1):
            for unit in stage:
                before = unit(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["last"] = x = nnx.relu(self.last_norm(self.last(x)))
        features["embedding"] = x = global_average(x)
        return self.head(x), features


def _shufflenet_v2(
    *, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs
) -> ShuffleNetV2:
    del image_size
    return ShuffleNetV2(in_channels, num_classes, norm=make_norm(norm), rngs=rngs)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "shufflenet_v2",
        "shufflenet",
        _shufflenet_v2,
        image_size=224,
        num_classes=1000,
        parameters=2_278_604,
        reference="Ma et al., 2018",
    ),
)
