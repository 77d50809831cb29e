"""All networks by name."""

from typing import Any

from flax import nnx

from jaxkd.models import (
    _efficientnet,
    _inception_v3,
    _mobilenet_v1,
    _mobilenet_v2,
    _mobilenet_v2_cifar,
    _mobilenet_v3,
    _resnet,
    _resnet_imagenet,
    _shufflenet_v1,
    _shufflenet_v2,
    _small,
    _squeezenet,
    _vgg,
    _vision_transformer,
    _wide_resnet,
)
from jaxkd.models._registry import Entry, Registry

_ROOMS: tuple[Any, ...] = (
    _small,
    _resnet,
    _wide_resnet,
    _vgg,
    _mobilenet_v2_cifar,
    _shufflenet_v1,
    _resnet_imagenet,
    _inception_v3,
    _mobilenet_v1,
    _mobilenet_v2,
    _mobilenet_v3,
    _squeezenet,
    _shufflenet_v2,
    _efficientnet,
    _vision_transformer,
)
_REGISTRY = Registry(entry for room in _ROOMS for entry in room.ENTRIES)


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    image_size: int | None = None,
    norm: str | None = None,
    dtype: Any = None,
    rngs: nnx.Rngs,
) -> nnx.Module:
    """Makes a network by name.

    Args:
      name: one of `names()`.
      num_classes: width of the logits, by default as published.
      in_channels: of the images.
      image_size: height and width of the images, by default as published; of use to networks whose
        layers depend on it (vision transformers, `mlp`, `cnn`).
      norm: `"batch"` or `"group"`, by default as published; see `Entry.norms`.
      dtype: what layers compute in, `jnp.bfloat16` for one; parameters stay float32.
      rngs: for the initial weights.

    Returns:
      An NNX module that returns `(logits, features)`, for `jaxkd.from_nnx`.

    Raises:
      ValueError: an unknown name (the message lists all, and near ones first), a norm that the
        network does not know, sizes below 1 or that it cannot have.

    Example:
      >>> from flax import nnx
      >>> model = create("resnet8", num_classes=100, rngs=nnx.Rngs(0))
      >>> type(model).__name__, model.head.kernel.shape
      ('ResNet', (64, 100))
    """
    return _REGISTRY.create(
        name,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        norm=norm,
        dtype=dtype,
        rngs=rngs,
    )


def names(family: str | None = None) -> list[str]:
    """Names of all networks, or of one family.

    Args:
      family: `"resnet"`, `"mobilenet"`, …, as `Entry.family` has it.

    Returns:
      The names, small networks first.

    Example:
      >>> names("small")
      ['mlp', 'cnn', 'convnet']
    """
    return _REGISTRY.names(family)


def entry(name: str) -> Entry:
    """What is known of a network before it is made.

    Args:
      name: one of `names()`.

    Returns:
      Its `Entry`: family, published sizes, number of parameters, reference.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> entry("mobilenet_v2").parameters
      3504872
    """
    return _REGISTRY.entry(name)
