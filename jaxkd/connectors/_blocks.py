"""Blocks and checks that several connectors share."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.ops import conv_general_dilated
from jaxkd.ops.pooling import global_average


def detached(maps: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Returns the maps without gradient."""
    return tuple(jax.lax.stop_gradient(layer) for layer in maps)


def check_layer_widths(student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
    """Raises ValueError unless both sides have layers, of positive widths."""
    for side, widths in (("student", student_channels), ("teacher", teacher_channels)):
        if not len(widths):
            raise ValueError(f"{side}_channels must have one width for each layer, got none")
        check_widths(*widths)


def check_maps(side: str, maps: tuple[jax.Array, ...], count: int) -> None:
    """Raises ValueError unless `maps` is a tuple of `count` maps."""
    check_count(side, maps, count)
    if any(layer.ndim != 4 for layer in maps):
        raise ValueError(
            f"the {side}'s outputs must be maps [batch, height, width, channels], not of shapes "
            f"{[layer.shape for layer in maps]}"
        )


def check_widths(*widths: int) -> None:
    """Raises ValueError unless all widths are positive."""
    if min(widths) < 1:
        raise ValueError(f"widths must be positive, not {' and '.join(map(str, widths))}")


class ConvNorm(nnx.Module):
    """A convolution without bias, batch normalization and, unless `relu` is False, ReLU.

    A kernel of size 1 is a matrix, so that vectors `[batch, width]` may pass as well as maps.

    Args:
      in_features: number of input channels.
      out_features: number of output channels.
      size: height and width of the kernel; the map keeps its size.
      relu: whether ReLU follows.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, in_features: int, out_features: int, size: int, *, relu: bool = True, rngs: nnx.Rngs
    ):
        check_widths(in_features, out_features)
        self.conv: nnx.Linear | nnx.Conv
        if size == 1:
            self.conv = nnx.Linear(in_features, out_features, use_bias=False, rngs=rngs)
        else:
            self.conv = nnx.Conv(
                in_features,
                out_features,
                (size, size),
                use_bias=False,
                conv_general_dilated=conv_general_dilated,
                rngs=rngs,
            )
        self.norm = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)
        self.relu = relu

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features `[batch, height, width, in_features]` to `out_features` channels."""
        features = self.norm(self.conv(features))
        return nnx.relu(features) if self.relu else features


class Constant(nnx.Variable):
    """A constant that is saved with a module's state and is never trained."""


class FrozenHead(nnx.Module):
    """A network's classifier on pooled features, which is not trained.

    Args:
      kernel: weights `[width, num_classes]`.
      bias: `[num_classes]`, or None.
      width: width of the features, which the kernel's must equal.

    Raises:
      ValueError: shapes that do not fit.
    """

    def __init__(self, kernel: jax.Array, bias: jax.Array | None, width: int):
        if jnp.ndim(kernel) != 2 or kernel.shape[0] != width:
            raise ValueError(
                f"the kernel of the teacher's classifier must be [{width}, num_classes], the "
                f"teacher's width first, not {jnp.shape(kernel)}"
            )
        if bias is not None and jnp.shape(bias) != kernel.shape[1:]:
            raise ValueError(
                f"the classifier's bias has shape {jnp.shape(bias)}, its kernel {kernel.shape}"
            )
        self.kernel = Constant(jnp.asarray(kernel))
        self.bias = None if bias is None else Constant(jnp.asarray(bias))

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features `[batch, ..., width]`, averaged over positions, to logits."""
        logits = global_average(features) @ jax.lax.stop_gradient(self.kernel[...])
        return logits if self.bias is None else logits + jax.lax.stop_gradient(self.bias[...])


def unit(values: jax.Array) -> jax.Array:
    """Divides vectors along the last axis by their L2 norm; zero vectors pass unchanged."""
    squares = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
    return values / jnp.sqrt(jnp.where(squares > 0, squares, 1))


def check_count(name: str, outputs: Sequence[jax.Array], count: int) -> None:
    """Raises ValueError unless `outputs` is a tuple of `count` arrays."""
    if not isinstance(outputs, tuple | list) or len(outputs) != count:
        given = len(outputs) if isinstance(outputs, tuple | list) else "one array"
        raise ValueError(f"{count} outputs of the {name} are needed, a tuple, got {given}")
