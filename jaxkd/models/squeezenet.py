"""SqueezeNet."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._layers import check_images, conv, global_average
from jaxkd.models._registry import Entry
from jaxkd.ops import max_pool

# Channels and side of the first convolution, least side of the images that leaves a pixel to the
# last pooling, and the layers: squeezed channels of a fire module, or None for max pooling.
_VERSIONS: dict[str, tuple[int, int, int, tuple[int | None, ...]]] = {
    "1.0": (96, 7, 21, (None, 16, 16, 32, None, 32, 48, 48, 64, None, 64)),
    "1.1": (64, 3, 17, (None, 16, 16, None, 32, 32, None, 48, 48, 64, 64)),
}
_EXPANSION = 8


class _Fire(nnx.Module):
    """A 1×1 convolution that narrows, then a 1×1 and a 3×3 one beside each other."""

    def __init__(self, in_features: int, squeezed: int, *, rngs: nnx.Rngs):
        half = squeezed * _EXPANSION // 2
        self.squeeze = conv(in_features, squeezed, 1, use_bias=True, rngs=rngs)
        self.expand1x1 = conv(squeezed, half, 1, use_bias=True, rngs=rngs)
        self.expand3x3 = conv(squeezed, half, 3, use_bias=True, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map before the last ReLU."""
        x = nnx.relu(self.squeeze(x))
        return jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], axis=-1)


class _Pool(nnx.Module):
    """3×3 max pooling of stride 2 whose last window may reach over the far side."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Half the height and width, rounded down."""
        far = [(side + 1) % 2 for side in x.shape[1:3]]
        pads = ((0, 0), (0, far[0]), (0, far[1]), (0, 0))
        return max_pool(jnp.pad(x, pads, constant_values=-jnp.inf), 3, 2)


class SqueezeNet(nnx.Module):
    """SqueezeNet: fire modules, without normalization, and a convolution for a classifier.

    The logits are averages of the last convolution's map after ReLU, so that none is negative.

    Args:
      version: `"1.0"`, the paper's, or `"1.1"`, which needs less than half of its arithmetic.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      dropout_rate: share of the last map set to zero in training.
      rngs: random streams for the initial weights and for dropout.

    Raises:
      ValueError: the version is unknown.

    Example:
      >>> def run(images):
      ...     return SqueezeNet("1.1", 3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 224, 224, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage3"].shape
      ((2, 1000), (2, 55, 55, 128), (2, 13, 13, 512))

    Reference:
      Iandola et al., SqueezeNet: AlexNet-level Accuracy with 50x Fewer Parameters and <0.5MB Model
      Size, 2016; version 1.1 from the authors' repository.
    """

    def __init__(
        self,
        version: str,
        in_channels: int,
        num_classes: int,
        *,
        dropout_rate: float = 0.5,
        rngs: nnx.Rngs,
    ):
        if version not in _VERSIONS:
            raise ValueError(f"version must be one of {sorted(_VERSIONS)}, not {version!r}")
        before, kernel, self.smallest, squeezed = _VERSIONS[version]
        self.in_channels = in_channels
        self.stem = conv(in_channels, before, kernel, 2, padding=0, use_bias=True, rngs=rngs)
        layers: list[_Pool | _Fire] = []
        for width in squeezed:
            if width is None:
                layers.append(_Pool())
            else:
                layers.append(_Fire(before, width, rngs=rngs))
                before = width * _EXPANSION
        self.layers = nnx.List(layers)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs if dropout_rate else None)
        self.head = conv(
            before,
            num_classes,
            1,
            use_bias=True,
            kernel_init=nnx.initializers.normal(0.01),
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are `stem`, the map after the first convolution's ReLU, `preact1` to `preact3`
        and `stage1` to `stage3`, the last maps before the poolings and the last of all before and
        after ReLU, `embedding`, the global average of the last, and `logit_map`, `[batch, height,
        width, num_classes]`, the last convolution's map after ReLU. What is averaged is that map,
        so the embedding does not determine the logits.
        """
        check_images(inputs, "SqueezeNet", channels=self.in_channels, smallest=self.smallest)
        features = {}
        features["stem"] = x = nnx.relu(self.stem(inputs))
        number = 0
        for layer in self.layers:
            if isinstance(layer, _Pool):
                x, number = layer(x), number + 1
            else:
                before = layer(x)
                x = nnx.relu(before)
                features[f"preact{number}"], features[f"stage{number}"] = before, x
        features["embedding"] = global_average(x)
        features["logit_map"] = x = nnx.relu(self.head(self.dropout(x)))
        return global_average(x), features


def _squeezenet(
    version: str, *, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs
) -> SqueezeNet:
    del image_size, norm
    return SqueezeNet(version, in_channels, num_classes, rngs=rngs)


ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        f"squeezenet{version.replace('.', '_')}",
        "squeezenet",
        functools.partial(_squeezenet, version),
        image_size=224,
        num_classes=1000,
        parameters=parameters,
        reference="Iandola et al., 2016",
        norms=("none",),
    )
    for version, parameters in (("1.0", 1_248_424), ("1.1", 1_235_496))
)
