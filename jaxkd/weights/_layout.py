"""Names and axes of other libraries turned into Flax's."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Pairs of a regular expression and its replacement, applied one after the other to a foreign
# name without its last part.
Rules = Sequence[tuple[str, str]]

# The last part of a foreign name, and what the same array may be called in Flax.
_LAST = {
    "weight": ("kernel", "scale", "embedding"),
    "running_mean": ("mean",),
    "running_var": ("var",),
    # Of normalizations in files that were converted from TensorFlow.
    "gamma": ("scale",),
    "beta": ("bias",),
}


def place_of(name: str, rules: Rules, known: Mapping[str, Any]) -> str | None:
    """Where an array of a foreign name belongs, or None.

    Rules see the name without its last part. Where that leads nowhere they see the whole name, for
    arrays that belong to no layer, as a class token.
    """
    # An attention's joint array in PyTorch is named as if it were no layer's.
    name = re.sub(r"\.in_proj_(weight|bias)$", r".in_proj.\1", name)
    stem, _, last = name.rpartition(".")
    stem = _renamed(stem, rules)
    for renamed in (*_LAST.get(last, ()), last):
        path = f"{stem}.{renamed}" if stem else renamed
        if path in known:
            return path
    whole = _renamed(name, rules)
    return whole if whole in known else None


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def laid_out(
    array: np.ndarray,
    name: str,
    path: str,
    wanted: tuple[int, ...],
    flattened: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """The array with its axes in the order of its place.

    Args:
      array: as in the source.
      name: its name there.
      path: of the place.
      wanted: its shape.
      flattened: `(channels, height, width)` of the map whose flattening the columns come from.

    Raises:
      ValueError: it has another shape, whatever the order of its axes.
    """
    laid = array
    if name.endswith("weight") and path.endswith("kernel") and array.ndim >= 2:
        if flattened is not None:
            laid = _rows_channels_last(array, name, flattened)
        # [out, in, *window] to [*window, in, out]
        laid = np.moveaxis(laid, (0, 1), (-1, -2))
        window = (*laid.shape[:-2], *wanted[:-2])
        if laid.shape[-2:] == tuple(wanted[-2:]) and set(window) == {1}:
            laid = laid.reshape(wanted)  # a 1×1 convolution as a dense layer, or the other way
    elif path.endswith(("kernel", "bias")) and _splits_heads(array.shape, tuple(wanted)):
        laid = array.reshape(wanted)
    if laid.shape != tuple(wanted):
        turned = f", {laid.shape} with its axes in order" if laid.shape != array.shape else ""
        raise ValueError(f"{tuple(wanted)} wanted, {name} is {array.shape}{turned}")
    return laid


def _rows_channels_last(
    array: np.ndarray, name: str, flattened: tuple[int, int, int]
) -> np.ndarray:
    if array.ndim != 2 or array.shape[1] != int(np.prod(flattened)):
        raise ValueError(
            f"{name} has {array.shape[1]} columns, a map of {tuple(flattened)} has "
            f"{int(np.prod(flattened))} numbers"
        )
    return array.reshape(-1, *flattened).transpose(0, 2, 3, 1).reshape(array.shape)


def _splits_heads(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an axis of the place is two here, heads and their width in Flax's attention."""
    if len(shape) != len(wanted) + 1:
        return False
    first, last = (shape[0] * shape[1], *shape[2:]), (*shape[:-2], shape[-2] * shape[-1])
    return wanted in (first, last)


def joined_attention(
    arrays: Mapping[str, Any], has_place: Callable[[str], bool]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Queries, keys and values of Flax's attention as one layer `qkv`, where the network has that.

    Args:
      arrays: by name; kernels `[width, heads, width of a head]`, biases `[heads, …]`.
      has_place: whether the network has a place for a name.

    Returns:
      The arrays with `….qkv.kernel` in the place of `….query.kernel` and so on; and for each name
      made up, what it was made of.
    """
    joined, made = dict(arrays), {}
    for name in arrays:
        module, query, last = name.rpartition("query.")
        names = [f"{module}{part}.{last}" for part in ("query", "key", "value")]
        target = f"{module}qkv.{last}"
        if not query or not all(n in arrays for n in names) or not has_place(target):
            continue
        parts = [np.asarray(joined.pop(n)) for n in names]
        parts = [p.reshape(p.shape[0], -1) if last == "kernel" else p.reshape(-1) for p in parts]
        joined[target] = np.concatenate(parts, axis=-1)
        made[target] = ", ".join(names)
    return joined, made
