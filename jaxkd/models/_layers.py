"""Layers that the networks share, with the padding and the initial weights of the papers."""

import operator
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.ops import conv_general_dilated

# He et al., Delving Deep into Rectifiers, 2015, by the number of outputs.
he_fan_out = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class MakeNorm(Protocol):
    """A function that makes a normalization layer."""

    def __call__(
        self, features: int, *, epsilon: float = 1e-5, momentum: float = 0.9, rngs: nnx.Rngs
    ) -> nnx.Module:
        """Makes a normalization layer.

        Args:
          features: number of channels.
          epsilon: added to the variance.
          momentum: share of the old running statistics, where there are any.
          rngs: random streams for the initial weights.
        """


def batch_norm(
    features: int, *, epsilon: float = 1e-5, momentum: float = 0.9, rngs: nnx.Rngs
) -> nnx.BatchNorm:
    """Makes a batch normalization (Ioffe and Szegedy, 2015)."""
    return nnx.BatchNorm(features, momentum=momentum, epsilon=epsilon, rngs=rngs)


def group_norm(
    features: int, *, epsilon: float = 1e-5, momentum: float = 0.9, rngs: nnx.Rngs
) -> nnx.GroupNorm:
    """Makes a group normalization (Wu and He, 2018) of 32 groups, or fewer of at least 4 channels.

    Examples do not depend on each other and there are no running statistics: for micro-batches,
    small batches and populations.

    Returns:
      The normalization.
    """
    del momentum
    # A group of one channel would be instance normalization, and nothing is left of a 1×1 map.
    most = max(1, min(32, features // 4))
    groups = max(count for count in range(1, most + 1) if features % count == 0)
    return nnx.GroupNorm(features, num_groups=groups, epsilon=epsilon, rngs=rngs)


NORMS: dict[str, MakeNorm] = {"batch": batch_norm, "group": group_norm}


def make_norm(name: str) -> MakeNorm:
    """Returns the function that makes normalizations of a name.

    Raises:
      ValueError: there is no such name.
    """
    if name not in NORMS:
        raise ValueError(f"norm must be one of {sorted(NORMS)}, not {name!r}")
    return NORMS[name]


def conv(
    in_features: int,
    out_features: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    padding: int | tuple[int, int] | None = None,
    groups: int = 1,
    use_bias: bool = False,
    kernel_init: Callable[..., Any] = he_fan_out,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Makes a convolution padded alike on both sides, by default by half its kernel.

    XLA's "SAME" pads a strided convolution of an even size on the far side alone, which is not what
    the published weights were trained with.

    Returns:
      The convolution.
    """
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding is None:
        padding = (size[0] // 2, size[1] // 2)
    pads = (padding, padding) if isinstance(padding, int) else padding
    return nnx.Conv(
        in_features,
        out_features,
        size,
        strides=(stride, stride),
        padding=[(pad, pad) for pad in pads],
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        conv_general_dilated=conv_general_dilated,
        rngs=rngs,
    )


def global_average(maps: jax.Array) -> jax.Array:
    """Computes the mean over height and width, `[batch, channels]`, summed in float32 at least."""
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    return jnp.mean(maps, axis=(1, 2), dtype=wide).astype(maps.dtype)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Returns the nearest multiple of a divisor, no more than a tenth below the value.

    As in the published code of the MobileNets.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def check_images(
    inputs: jax.Array,
    network: str,
    *,
    channels: int,
    smallest: int = 1,
    multiple: int = 1,
    exactly: int | None = None,
) -> None:
    """Refuses inputs that are no batch of images that a network can take.

    Args:
      inputs: array that must be `[batch, height, width, channels]`.
      network: name of the network, for the message.
      channels: number of channels that it was made for.
      smallest: least height and width.
      multiple: number that divides height and width.
      exactly: height and width, for networks that are made for one size.

    Raises:
      ValueError: the shape is another one; the message has it and the one wanted.
    """
    sides = inputs.shape[1:3]
    fits = inputs.ndim == 4 and inputs.shape[-1] == channels and min(sides) >= smallest
    fits = fits and all(side % multiple == 0 for side in sides)
    if fits and exactly is not None:
        fits = sides == (exactly, exactly)
    if fits:
        return
    wanted = f"[batch, {exactly or 'height'}, {exactly or 'width'}, {channels}]"
    if exactly is None and (smallest > 1 or multiple > 1):
        wanted += f" with sides of at least {smallest}"
        wanted += f" that are multiples of {multiple}" if multiple > 1 else ""
    raise ValueError(
        f"{network} takes images {wanted}, not {tuple(inputs.shape)}: resize the images, or make "
        "the network for them"
    )


class ConvNorm(nnx.Module):
    """A convolution without bias and its normalization.

    Args:
      in_features: number of input channels.
      out_features: number of output channels.
      kernel: height and width of the kernel.
      stride: stride of the convolution.
      padding: padding on every side, as for `conv`.
      groups: number of groups of channels.
      norm: function that makes the normalization layer.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        *,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            in_features, out_features, kernel, stride, padding=padding, groups=groups, rngs=rngs
        )
        self.norm = norm(out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the normalized map, before the activation, which the caller applies."""
        return self.norm(self.conv(x))


def check_sizes(name: str, sizes: Any, axes: str = "") -> tuple[int, ...]:
    """Refuses sizes that are no sequence of positive integers.

    Args:
      name: name of the argument, for the message.
      sizes: the sizes.
      axes: what they are, if there must be so many: `"(height, width, channels)"`.

    Returns:
      The sizes.

    Raises:
      TypeError: no sequence, or something in it that is no integer.
      ValueError: another number of sizes, or one below 1.
    """
    wanted = axes or "a sequence of integers, such as (16, 32)"
    try:
        found = tuple(operator.index(size) for size in sizes)
    except TypeError as error:
        raise TypeError(f"{name} is {wanted}, not {sizes!r}") from error
    if (axes and len(found) != axes.count(",") + 1) or any(size < 1 for size in found):
        raise ValueError(f"{name} is {wanted}, each at least 1, not {sizes!r}")
    return found
