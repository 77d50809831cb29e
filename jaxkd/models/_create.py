"""All networks by name."""

from typing import Any

from flax import nnx

from jaxkd.models import (
    efficientnet,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v2_cifar,
    mobilenet_v3,
    resnet,
    resnet_imagenet,
    shufflenet_v1,
    shufflenet_v2,
    small,
    squeezenet,
    vgg,
    vision_transformer,
    wide_resnet,
)
from jaxkd.models._registry import Entry, Registry

_MODULES: tuple[Any, ...] = (
    small,
    resnet,
    wide_resnet,
    vgg,
    mobilenet_v2_cifar,
    shufflenet_v1,
    resnet_imagenet,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    squeezenet,
    shufflenet_v2,
    efficientnet,
    vision_transformer,
)
_REGISTRY = Registry(entry for module in _MODULES for entry in module.ENTRIES)


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
      num_classes: number of classes, the width of the logits, by default as published.
      in_channels: number of channels of the images.
      image_size: height and width of the images, by default as published; it matters to networks
        whose layers depend on it (vision transformers, `mlp`, `cnn`).
      norm: `"batch"` or `"group"`, by default as published; see `Entry.norms`.
      dtype: type that layers compute in, such as `jnp.bfloat16`; parameters stay float32.
      rngs: random streams for the initial weights.

    Returns:
      An NNX module that returns `(logits, features)`, for `jaxkd.from_nnx`.

    Raises:
      ValueError: the name is unknown (the message lists all, and similar ones first), the network
        does not have this norm, or a size is below 1 or not possible.

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
    """Lists the names of all networks, or of one family.

    Args:
      family: `"resnet"`, `"mobilenet"`, …, as in `Entry.family`; None for all.

    Returns:
      The names, small networks first.

    Example:
      >>> names("small")
      ['mlp', 'cnn', 'convnet']
    """
    return _REGISTRY.names(family)


def entry(name: str) -> Entry:
    """Describes a network before it is made.

    Args:
      name: one of `names()`.

    Returns:
      Its `Entry`: family, published sizes, number of parameters, reference.

    Raises:
      ValueError: the name is unknown.

    Example:
      >>> entry("mobilenet_v2").parameters
      3504872
    """
    return _REGISTRY.entry(name)
