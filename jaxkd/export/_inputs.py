"""Examples as the exported files take them: an array, or arrays by name."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.networks._network import dotted

# An array, or dotted name → array.
Arrays = Any


def flatten(examples: Any) -> tuple[Arrays, Callable[[Arrays], Any]]:
    """Checks examples and gives the arrays of nested dictionaries one name each.

    Args:
      examples: `[examples, ...]`, or a (nested) dictionary of such arrays.

    Returns:
      The array, or dotted name → array; and the function that restores the nested form.

    Raises:
      ValueError: an array without examples, arrays of several numbers of examples, a type that JAX
        does not have here, or two arrays of one dotted name.
    """
    if not isinstance(examples, Mapping):
        return _checked(examples, "examples"), lambda inputs: inputs
    leaves, structure = jax.tree_util.tree_flatten_with_path(examples)
    names = [dotted(path) for path, _ in leaves]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"examples need arrays of different names, they have {names}")
    flat = {
        name: _checked(leaf, f"examples[{name!r}]")
        for name, (_, leaf) in zip(names, leaves, strict=True)
    }
    if len({len(array) for array in flat.values()}) > 1:
        shapes = {name: list(array.shape) for name, array in flat.items()}
        raise ValueError(f"all arrays need the same number of examples, they are {shapes}")
    return flat, lambda inputs: jax.tree.unflatten(structure, [inputs[name] for name in names])


def like(inputs: Arrays) -> Any:
    """Returns shape and type of one example, in the form of the inputs."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)


def batched(one: Any, size: Any) -> Any:
    """Returns shapes and types of a batch, from those of one example."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), one)


def names_of(one: Any) -> list[str]:
    """Returns the names of the arrays in the order in which JAX flattens them."""
    return sorted(one) if isinstance(one, Mapping) else ["inputs"]


def count(inputs: Arrays) -> int:
    """Returns the number of examples."""
    return len(jax.tree.leaves(inputs)[0])


def rows(inputs: Arrays, start: int, stop: int) -> Arrays:
    """Returns some of the examples."""
    return jax.tree.map(lambda x: x[start:stop], inputs)


def _checked(array: Any, what: str) -> np.ndarray:
    array = np.asarray(array)
    least = 2 if what == "examples" else 1  # beside others an array may be one number an example
    if array.ndim < least or not len(array):
        raise ValueError(f"{what} must be [examples, ...], not {list(array.shape)}")
    if (dtype := jax.dtypes.canonicalize_dtype(array.dtype)) != array.dtype:
        raise ValueError(
            f"{what} are {array.dtype}, the program takes {dtype}: give "
            f"{what}.astype({str(dtype)!r})"
        )
    return array
