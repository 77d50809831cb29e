"""Inverted residuals, which MobileNets and EfficientNets are made of."""

from collections.abc import Callable, Iterable

import jax
from flax import nnx

from jaxkd.models._layers import ConvNorm, MakeNorm, global_average

Activation = Callable[[jax.Array], jax.Array]


class SqueezeExcite(nnx.Module):
    """Scales the channels by factors that two dense layers compute from their averages.

    Args:
      features: number of channels of the maps.
      squeezed: width between the layers.
      activation: activation between the layers.
      gate: activation after them; its values are the factors.
      rngs: random streams for the initial weights.

    Reference:
      Hu et al., Squeeze-and-Excitation Networks, CVPR 2018.
    """

    def __init__(
        self,
        features: int,
        squeezed: int,
        *,
        activation: Activation,
        gate: Activation,
        rngs: nnx.Rngs,
    ):
        self.activation, self.gate = activation, gate
        self.reduce = nnx.Linear(features, squeezed, rngs=rngs)
        self.expand = nnx.Linear(squeezed, features, rngs=rngs)

    def __call__(self, maps: jax.Array) -> jax.Array:
        """Returns the maps `[batch, height, width, features]`, scaled."""
        factors = self.expand(self.activation(self.reduce(global_average(maps))))
        return maps * self.gate(factors)[:, None, None, :]


class InvertedResidual(nnx.Module):
    """A depthwise convolution between a 1×1 one that widens and a linear one that narrows.

    Where nothing is widened there is no first convolution. The sum with the input, where shapes
    allow it, ends without activation.

    Args:
      in_features: number of input channels.
      wide: number of channels of the depthwise convolution.
      out_features: number of output channels.
      kernel: side of the kernel of the depthwise convolution.
      stride: stride of the depthwise convolution, 1 or 2.
      activation: activation after the first two convolutions.
      squeeze: module that scales the channels before the last convolution.
      stochastic_depth_rate: share of the examples of a batch for which only the shortcut counts in
        training; what is left is scaled up as by dropout.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        wide: int,
        out_features: int,
        kernel: int,
        stride: int,
        *,
        activation: Activation,
        squeeze: SqueezeExcite | None = None,
        stochastic_depth_rate: float = 0.0,
        norm: MakeNorm,
        rngs: nnx.Rngs,
    ):
        self.activation = activation
        self.halves = stride == 2
        self.widens = wide != in_features
        self.residual = stride == 1 and in_features == out_features
        if self.widens:
            self.expand = ConvNorm(in_features, wide, 1, norm=norm, rngs=rngs)
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide, norm=norm, rngs=rngs)
        self.squeeze = squeeze
        self.project = ConvNorm(wide, out_features, 1, norm=norm, rngs=rngs)
        # Stochastic depth is dropout of complete maps; without a random stream where nothing is
        # random, so that training needs no key.
        rate = stochastic_depth_rate if self.residual else 0.0
        self.drop = nnx.Dropout(rate, broadcast_dims=(1, 2, 3), rngs=rngs if rate else None)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map, without an activation at the end."""
        y = self.activation(self.expand(x)) if self.widens else x
        y = self.activation(self.depthwise(y))
        if self.squeeze is not None:
            y = self.squeeze(y)
        y = self.project(y)
        return x + self.drop(y) if self.residual else y


def run_stages(
    blocks: Iterable[InvertedResidual], x: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Runs blocks and gathers the maps at the ends of the stages.

    A stage begins with a block that halves height and width and ends before the next one. Blocks
    before the first such block belong to none. As there is no activation at the end of a block,
    `preact1` is the same map as `stage1`.

    Returns:
      The last map `[batch, height, width, channels]`, and the maps by name.
    """
    features: dict[str, jax.Array] = {}
    number = 0
    for block in blocks:
        number += block.halves
        x = block(x)
        if number:
            features[f"preact{number}"] = features[f"stage{number}"] = x
    return x, features
