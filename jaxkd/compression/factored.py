"""One layer made of two thin ones, by the singular values of its kernel."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.compression._layers import layers_of, replaced

_SCHEMES = ("channel", "spatial")


@dataclasses.dataclass(frozen=True)
class Factors:
    """What becomes of one layer.

    Attributes:
      kernel: shape of its kernel.
      rank: channels between the two layers.
      full_rank: with which nothing would be lost.
      parameters: of the kernel.
      factored_parameters: of the two kernels.
      error: Frobenius norm of what is lost, as a share of the kernel's, in [0, 1].
    """

    kernel: tuple[int, ...]
    rank: int
    full_rank: int
    parameters: int
    factored_parameters: int
    error: float


def plan_ranks(
    model: nnx.Module,
    *,
    rank: int | float | None = None,
    energy: float | None = None,
    where: Callable[[str, nnx.Module], bool] | None = None,
    scheme: str = "channel",
) -> dict[str, int]:
    """Chooses the ranks that `low_rank` gives the layers, where that saves parameters.

    Layers that two factors of the rank would not make smaller are left out, and so are grouped
    and depthwise convolutions.

    Args:
      model: the module, trained.
      rank: an integer for all layers, or a share of the full rank of each, in (0, 1).
      energy: in its place, the share of the sum of squared singular values to be kept, in (0, 1):
        0.95 loses about 22 % of each kernel's norm.
      where: of path and layer, whether it may be factored; by default all.
      scheme: as for `low_rank`.

    Returns:
      Path → rank. Plain numbers, for JSON.

    Raises:
      ValueError: neither or both of rank and energy, or one out of its range; an unknown scheme; no
        layer gets smaller.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> plan_ranks(mlp, rank=0.25)
      {'head': 2, 'layers.0': 16}
    """
    _check_scheme(scheme)
    if (rank is None) == (energy is None):
        raise ValueError(f"give either rank or energy, not rank={rank} and energy={energy}")
    if energy is not None and not 0 < energy < 1:
        raise ValueError(f"energy is a share above 0 and below 1, not {energy}")
    if rank is not None:
        whole = isinstance(rank, int | np.integer) and not isinstance(rank, bool)
        if not (rank >= 1 if whole else isinstance(rank, float) and 0 < rank < 1):
            raise ValueError(
                f"rank is an integer of at least 1 or a share above 0 and below 1, not {rank!r}"
            )
    ranks, left = {}, {}
    for path, layer in _factorable(model, scheme).items():
        if where is not None and not where(path, layer):
            continue
        rows, columns = _sides(layer, scheme)
        if energy is not None:
            squares = np.square(np.asarray(_singular_values(layer, scheme), np.float64))
            kept = np.cumsum(squares) / max(squares.sum(), np.finfo(np.float64).tiny)
            chosen = int(np.searchsorted(kept, energy)) + 1
        elif isinstance(rank, float):
            chosen = max(1, round(rank * min(rows, columns)))
        else:
            assert rank is not None
            chosen = int(rank)
        if chosen * (rows + columns) < rows * columns:
            ranks[path] = chosen
        else:
            left[path] = f"rank {chosen} of {rows}×{columns}"
    if not ranks:
        raise ValueError(
            f"no layer would get smaller (nnx.Linear and nnx.Conv without groups: {left}): choose "
            "a lower rank or energy, or another where"
        )
    return ranks


def low_rank(model: nnx.Module, ranks: Mapping[str, int], *, scheme: str = "channel") -> nnx.Module:
    """The module with layers made of two: the best approximations of such ranks.

    A dense layer becomes two, `[in, rank]` and `[rank, out]`; a convolution k×k becomes, by scheme,

    - `"channel"`: k×k to `rank` channels, then 1×1;
    - `"spatial"`: k×1 to `rank` channels, then 1×k, which shrinks the spatial work as well.

    Each pair is an `nnx.Sequential` of ordinary layers (`head` becomes `head.layers.0` and
    `head.layers.1`, with the bias); the singular values are shared evenly between them, so that
    both train alike. What is lost is the discarded singular values; train on with the old module as
    the teacher to get accuracy back. The plan is plain data: with it a fresh module becomes one
    that saved weights fit into:

        network = jaxkd.from_nnx(nnx.eval_shape(lambda: low_rank(make(), ranks)))
        network, _ = jaxkd.weights.load(network, "low_rank.npz")

    Args:
      model: the module, trained. Not changed.
      ranks: path → rank, from `plan_ranks` or chosen by hand; up to the full rank, which
        reproduces the module.
      scheme: `"channel"` or `"spatial"`, for all convolutions.

    Returns:
      A copy, an ordinary module.

    Raises:
      ValueError: a path without such a layer, a grouped or masked convolution, a rank below 1 or
        beyond the full rank, an unknown scheme, no ranks.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> thin = low_rank(mlp, plan_ranks(mlp, rank=16))
      >>> [jaxkd.compression.count_parameters(jaxkd.from_nnx(m).params) for m in (mlp, thin)]
      [4810, 2762]

    References:
      Denil et al., Predicting Parameters in Deep Learning, NeurIPS 2013; Denton et al., Exploiting
      Linear Structure Within Convolutional Networks, NeurIPS 2014. Jaderberg et al., Speeding up
      Convolutional Neural Networks with Low Rank Expansions, BMVC 2014 (spatial). Zhang et al.,
      Accelerating Very Deep Convolutional Networks, TPAMI 2016 (channel).
    """
    layers = _checked(model, ranks, scheme)
    return replaced(
        model, {path: _factored(layers[path], rank, scheme) for path, rank in ranks.items()}
    )


def factors(
    model: nnx.Module, ranks: Mapping[str, int], *, scheme: str = "channel"
) -> dict[str, Factors]:
    """What `low_rank` makes of each layer, and what is lost, before it is done.

    Args:
      model: as for `low_rank`.
      ranks: as for `low_rank`.
      scheme: as for `low_rank`.

    Returns:
      Path → `Factors`, in the order of the ranks.

    Raises:
      ValueError: as `low_rank`.

    Example:
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> table = factors(mlp, {"layers.0": 16})
      >>> table["layers.0"].full_rank, table["layers.0"].factored_parameters
      (64, 2048)
    """
    table = {}
    for path, layer in _checked(model, ranks, scheme).items():
        rows, columns = _sides(layer, scheme)
        rank = ranks[path]
        squares = np.square(np.asarray(_singular_values(layer, scheme), np.float64))
        lost = squares[rank:].sum() / max(squares.sum(), np.finfo(np.float64).tiny)
        table[path] = Factors(
            kernel=tuple(layer.kernel.shape),
            rank=rank,
            full_rank=min(rows, columns),
            parameters=rows * columns,
            factored_parameters=rank * (rows + columns),
            error=math.sqrt(lost),
        )
    return table


def _checked(model: nnx.Module, ranks: Mapping[str, int], scheme: str) -> dict[str, Any]:
    _check_scheme(scheme)
    layers = _factorable(model, scheme)
    unknown = [path for path in ranks if path not in layers]
    if unknown or not ranks:
        raise ValueError(
            f"{unknown or 'no layers'} cannot be factored ({scheme}): this module has "
            f"{list(layers)} (nnx.Linear, nnx.Conv without groups or mask)"
        )
    for path, rank in ranks.items():
        full = min(_sides(layers[path], scheme))
        if not 1 <= rank <= full:
            raise ValueError(f"the rank of {path!r} must be between 1 and {full}, not {rank}")
    return {path: layers[path] for path in ranks}


def _check_scheme(scheme: str) -> None:
    if scheme not in _SCHEMES:
        raise ValueError(f"scheme must be one of {list(_SCHEMES)}, not {scheme!r}")


def _factorable(model: nnx.Module, scheme: str) -> dict[str, Any]:
    """Layers that are one matrix: groups would be one each, a mask would be lost."""
    found = {}
    for path, layer in layers_of(model, (nnx.Linear, nnx.Conv)).items():
        if isinstance(layer, nnx.Conv):
            if layer.feature_group_count != 1 or layer.mask is not None:
                continue
            if scheme == "spatial" and len(layer.kernel_size) != 2:
                continue
        found[path] = layer
    return found


def _sides(layer: Any, scheme: str) -> tuple[int, int]:
    """Rows and columns of the kernel as a matrix."""
    shape = layer.kernel.shape
    if isinstance(layer, nnx.Conv) and scheme == "spatial":
        high, wide, before, after = shape
        return high * before, wide * after
    return math.prod(shape[:-1]), shape[-1]


def _matrix(layer: Any, scheme: str) -> jax.Array:
    kernel = layer.kernel[...].astype(jnp.float32)
    if isinstance(layer, nnx.Conv) and scheme == "spatial":
        kernel = kernel.transpose(0, 2, 1, 3)
    return kernel.reshape(_sides(layer, scheme))


def _singular_values(layer: Any, scheme: str) -> jax.Array:
    return jnp.linalg.svd(_matrix(layer, scheme), compute_uv=False)


def _factored(layer: Any, rank: int, scheme: str) -> nnx.Sequential:
    left, values, right = jnp.linalg.svd(_matrix(layer, scheme), full_matrices=False)
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
        split = _channel if scheme == "channel" else _spatial
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


def _channel(layer: nnx.Conv, rank: int) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
    """k×k with all that the layer does in space, then 1×1."""
    size, ones = tuple(layer.kernel_size), (1,) * len(layer.kernel_size)
    whole = {
        name: getattr(layer, name)
        for name in ("kernel_size", "strides", "padding", "input_dilation", "kernel_dilation")
    }
    shapes = [(*size, layer.in_features, rank), (*ones, rank, layer.out_features)]
    return shapes, [whole, {"kernel_size": ones}]


def _spatial(layer: nnx.Conv, rank: int) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
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
