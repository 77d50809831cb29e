"""One layer replaced by two of low rank, by the singular values of its kernel."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.compression._layers import replace_layers
from jaxkd.compression.low_rank._kernels import (
    check_ranks,
    kernel_matrix,
    kernel_sides,
    singular_values,
)


def factorize(
    model: nnx.Module, ranks: Mapping[str, int], *, scheme: str = "channel"
) -> nnx.Module:
    """Replaces each layer by two of low rank: the best approximations of the given ranks.

    A dense layer becomes two, `[in, rank]` and `[rank, out]`; a convolution k×k becomes, by scheme,

    - `"channel"`: k×k to `rank` channels, then 1×1;
    - `"spatial"`: k×1 to `rank` channels, then 1×k, which shrinks the spatial work as well.

    Each pair is an `nnx.Sequential` of ordinary layers (`head` becomes `head.layers.0` and
    `head.layers.1`, with the bias); each gets the square roots of the singular values, so that both
    train alike. The discarded singular values are lost; train further with the old module as the
    teacher to regain accuracy. The ranks are plain data: with them a fresh module becomes one that
    saved weights fit into:

        network = jaxkd.from_nnx(nnx.eval_shape(lambda: factorize(make(), ranks)))
        network, _ = jaxkd.weights.load(network, "low_rank.npz")

    Args:
      model: the trained module. Not changed.
      ranks: path → rank, from `choose_ranks` or chosen by hand; up to the full rank, which
        reproduces the module.
      scheme: `"channel"` or `"spatial"`, for all convolutions.

    Returns:
      A copy, an ordinary module.

    Raises:
      ValueError: a path has no such layer or a grouped or masked convolution, a rank is below 1 or
        above the full rank, the scheme is unknown, or there are no ranks.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> thin = factorize(mlp, jaxkd.compression.choose_ranks(mlp, rank=16))
      >>> [jaxkd.compression.count_parameters(jaxkd.from_nnx(m).params) for m in (mlp, thin)]
      [4810, 2762]

    References:
      Denil et al., Predicting Parameters in Deep Learning, NeurIPS 2013; Denton et al., Exploiting
      Linear Structure Within Convolutional Networks, NeurIPS 2014. Jaderberg et al., Speeding up
      Convolutional Neural Networks with Low Rank Expansions, BMVC 2014 (spatial). Zhang et al.,
      Accelerating Very Deep Convolutional Networks, TPAMI 2016 (channel).
    """
    layers = check_ranks(model, ranks, scheme)
    return replace_layers(
        model, {path: _factorized(layers[path], rank, scheme) for path, rank in ranks.items()}
    )


@dataclasses.dataclass(frozen=True)
class LayerFactorization:
    """What becomes of one layer.

    Attributes:
      kernel: shape of the kernel.
      rank: number of channels between the two layers.
      full_rank: rank with which nothing would be lost.
      parameters: number of parameters of the kernel.
      factored_parameters: number of parameters of the two kernels.
      error: Frobenius norm of what is lost, as a share of the kernel's, in [0, 1].

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> layer = jaxkd.compression.describe_factorization(mlp, {"layers.0": 16})["layers.0"]
      >>> layer.kernel, layer.rank, layer.parameters, layer.factored_parameters
      ((64, 64), 16, 4096, 2048)
    """

    kernel: tuple[int, ...]
    rank: int
    full_rank: int
    parameters: int
    factored_parameters: int
    error: float


def describe_factorization(
    model: nnx.Module, ranks: Mapping[str, int], *, scheme: str = "channel"
) -> dict[str, LayerFactorization]:
    """Describes beforehand what `factorize` makes of each layer, and what is lost.

    Args:
      model: as for `factorize`.
      ranks: as for `factorize`.
      scheme: as for `factorize`.

    Returns:
      Path → `LayerFactorization`, in the order of the ranks.

    Raises:
      ValueError: as `factorize`.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> table = describe_factorization(mlp, {"layers.0": 16})
      >>> table["layers.0"].full_rank, table["layers.0"].factored_parameters
      (64, 2048)
    """
    table = {}
    for path, layer in check_ranks(model, ranks, scheme).items():
        rows, columns = kernel_sides(layer, scheme)
        rank = ranks[path]
        squares = np.square(np.asarray(singular_values(layer, scheme), np.float64))
        lost = squares[rank:].sum() / max(squares.sum(), np.finfo(np.float64).tiny)
        table[path] = LayerFactorization(
            kernel=tuple(layer.kernel.shape),
            rank=rank,
            full_rank=min(rows, columns),
            parameters=rows * columns,
            factored_parameters=rank * (rows + columns),
            error=math.sqrt(lost),
        )
    return table


def _factorized(layer: Any, rank: int, scheme: str) -> nnx.Sequential:
    left, values, right = jnp.linalg.svd(kernel_matrix(layer, scheme), full_matrices=False)
    roots = jnp.sqrt(values[:rank])
    first, second = left[:, :rank] * roots, roots[:, None] * right[:rank]
    names = ("dtype", "param_dtype", "precision", "preferred_element_type", "promote_dtype")
    same = {name: getattr(layer, name) for name in names}
    if isinstance(layer, nnx.Linear):
        same["dot_general"] = layer.dot_general
        shapes: list[tuple[int, ...]] = [first.shape, second.shape]
        options: list[dict[str, Any]] = [{}, {}]
    else:
        same["conv_general_dilated"] = layer.conv_general_dilated
        split = _split_channels if scheme == "channel" else _split_space
        shapes, options = split(layer, rank)
    make = type(layer)
    pair: list[Any] = []
    for factor, shape, option in zip((first, second), shapes, options, strict=True):
        if make is nnx.Conv and scheme == "spatial" and factor is second:
            wide, after = layer.kernel.shape[1], layer.kernel.shape[3]
            factor = factor.reshape(rank, wide, after).transpose(1, 0, 2)
        kernel = factor.reshape(shape).astype(layer.kernel.dtype)
        pair.append(
            make(
                *(shape[-2], shape[-1]),
                **option,
                **same,
                use_bias=len(pair) == 1 and layer.bias is not None,
                kernel_init=lambda *_, kernel=kernel: kernel,
                rngs=nnx.Rngs(0),
            )
        )
    if layer.bias is not None:
        pair[1].bias = nnx.Param(layer.bias[...])
    return nnx.Sequential(*pair)


def _split_channels(
    layer: nnx.Conv, rank: int
) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
    """k×k with all that the layer does in space, then 1×1."""
    size, ones = tuple(layer.kernel_size), (1,) * len(layer.kernel_size)
    whole = {
        name: getattr(layer, name)
        for name in ("kernel_size", "strides", "padding", "input_dilation", "kernel_dilation")
    }
    shapes = [(*size, layer.in_features, rank), (*ones, rank, layer.out_features)]
    return shapes, [whole, {"kernel_size": ones}]


def _split_space(layer: nnx.Conv, rank: int) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
    """k×1 with what the layer does along the height, then 1×k along the width."""
    high, wide = layer.kernel_size
    padding = layer.padding
    if isinstance(padding, str):
        pads: list[Any] = [padding, padding]  # Flax pads a side of 1 by nothing.
    else:
        sides = (padding, padding) if isinstance(padding, int) else tuple(padding)
        pairs = [(side, side) if isinstance(side, int) else tuple(side) for side in sides]
        pads = [[pairs[0], (0, 0)], [(0, 0), pairs[1]]]
    options: list[dict[str, Any]] = [
        {"kernel_size": (high, 1), "padding": pads[0]},
        {"kernel_size": (1, wide), "padding": pads[1]},
    ]
    for name in ("strides", "input_dilation", "kernel_dilation"):
        value = getattr(layer, name)
        both = (value or 1,) * 2 if value is None or isinstance(value, int) else tuple(value)
        options[0][name], options[1][name] = (both[0], 1), (1, both[1])
    return [(high, 1, layer.in_features, rank), (1, wide, rank, layer.out_features)], options
