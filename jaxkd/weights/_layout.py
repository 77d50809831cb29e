"""Names and axes of other libraries translated into those of Flax."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Rules = Sequence[tuple[str, str]]
"""Pairs of a regular expression and its replacement, applied one after the other to a name of
another library without its last part."""

# The last part of a name in other libraries, and names of the same array in Flax.
_LAST = {
    "weight": ("kernel", "scale", "embedding"),
    "running_mean": ("mean",),
    "running_var": ("var",),
    # Normalizations in files that were converted from TensorFlow.
    "gamma": ("scale",),
    "beta": ("bias",),
}


def path_of(name: str, rules: Rules, known: Mapping[str, Any]) -> str | None:
    """Returns the path of the variable that an array belongs to, or None.

    Rules apply to the name without its last part, and if the network has no such variable to the
    complete name, for arrays that belong to no layer, such as a class token.

    Args:
      name: name of the array in another library.
      rules: rules that translate it.
      known: paths of the network's variables.
    """
    # PyTorch names the joint array of an attention as if it belonged to no layer.
    name = re.sub(r"\.in_proj_(weight|bias)$", r".in_proj.\1", name)
    stem, _, last = name.rpartition(".")
    stem = _rename(stem, rules)
    for renamed in (*_LAST.get(last, ()), last):
        path = f"{stem}.{renamed}" if stem else renamed
        if path in known:
            return path
    complete = _rename(name, rules)
    return complete if complete in known else None


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def to_layout(
    array: np.ndarray,
    name: str,
    path: str,
    shape: tuple[int, ...],
    flattened: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """Puts the axes of an array in the order of its variable.

    Args:
      array: array of the source.
      name: its name in the source.
      path: path of the variable.
      shape: shape of the variable.
      flattened: `(channels, height, width)` of the map whose flattening the columns come from.

    Returns:
      An array of this shape.

    Raises:
      ValueError: the array has another shape, whatever the order of its axes.
    """
    ordered = array
    if name.endswith("weight") and path.endswith("kernel") and array.ndim >= 2:
        if flattened is not None:
            ordered = _rows_channels_last(array, name, flattened)
        # [out, in, *window] to [*window, in, out]
        ordered = np.moveaxis(ordered, (0, 1), (-1, -2))
        window = (*ordered.shape[:-2], *shape[:-2])
        if ordered.shape[-2:] == tuple(shape[-2:]) and set(window) == {1}:
            ordered = ordered.reshape(shape)  # a 1×1 convolution as a dense layer, or vice versa
    elif path.endswith(("kernel", "bias")) and _splits_heads(array.shape, tuple(shape)):
        ordered = array.reshape(shape)
    if ordered.shape != tuple(shape):
        changed = ordered.shape != array.shape
        detail = f", {ordered.shape} with its axes in order" if changed else ""
        raise ValueError(f"{tuple(shape)} wanted, {name} is {array.shape}{detail}")
    return ordered


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
    """Whether Flax's attention has two axes, heads and their width, for one in the source."""
    if len(shape) != len(wanted) + 1:
        return False
    first, last = (shape[0] * shape[1], *shape[2:]), (*shape[:-2], shape[-2] * shape[-1])
    return wanted in (first, last)


def join_attention(
    arrays: Mapping[str, Any], is_known: Callable[[str], bool]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Joins queries, keys and values of Flax's attention where the network has one layer `qkv`.

    Args:
      arrays: arrays by name; kernels `[width, heads, width of a head]`, biases `[heads, …]`.
      is_known: `is_known(name)` says whether the network has a variable for a name.

    Returns:
      The arrays with `….qkv.kernel` in the place of `….query.kernel` and so on; and for each new
      name, the names that it was made of.
    """
    joined, sources = dict(arrays), {}
    for name in arrays:
        module, query, last = name.rpartition("query.")
        names = [f"{module}{part}.{last}" for part in ("query", "key", "value")]
        target = f"{module}qkv.{last}"
        if not query or not all(n in arrays for n in names) or not is_known(target):
            continue
        parts = [np.asarray(joined.pop(n)) for n in names]
        parts = [p.reshape(p.shape[0], -1) if last == "kernel" else p.reshape(-1) for p in parts]
        joined[target] = np.concatenate(parts, axis=-1)
        sources[target] = ", ".join(names)
    return joined, sources
