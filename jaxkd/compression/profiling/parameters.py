"""How many parameters a network has, and the bytes that they take."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def count_parameters(params: Any) -> int:
    """Counts the numbers in a tree of parameters.

    Args:
      params: a pytree of arrays.

    Returns:
      The sum of the sizes of all arrays, including the scales of a quantized tree.

    Raises:
      TypeError: a leaf is not an array.

    Example:
      >>> import numpy as np
      >>> count_parameters({"kernel": np.zeros((784, 10)), "bias": np.zeros(10)})
      7850
    """
    return sum(leaf.size for leaf in _arrays(params))


def parameter_bytes(params: Any) -> int:
    """Counts the bytes of a tree of parameters.

    Types narrower than a byte count as packed, two int4 numbers to a byte, which is what a file
    or an accelerator needs for them; the CPU backend spends a whole byte on each.

    Args:
      params: a pytree of arrays.

    Returns:
      The sum of the bytes of all arrays, each rounded up to a whole byte.

    Raises:
      TypeError: a leaf is not an array.

    Example:
      >>> import numpy as np
      >>> kernel, bias = np.zeros((784, 10), np.int8), np.zeros(10, np.float32)
      >>> parameter_bytes({"kernel": kernel, "bias": bias})
      7880
    """
    return sum(
        -(-leaf.size * jax.dtypes.itemsize_bits(leaf.dtype) // 8) for leaf in _arrays(params)
    )


def sparse_bytes(params: Any) -> int:
    """Counts the bytes of a tree of parameters whose zeros are left out.

    An array is stored as its nonzero numbers and a bit for each position, or densely, whichever is
    less. Below about a thirtieth of zeros in float32, or an eighth in int8, that is densely.

    Args:
      params: a pytree of arrays.

    Returns:
      The sum over all arrays, each rounded up to a whole byte.

    Raises:
      TypeError: a leaf is not an array.

    Example:
      >>> import numpy as np
      >>> kernel = np.zeros((80, 10), np.float32)
      >>> kernel[:8] = 1
      >>> parameter_bytes(kernel), sparse_bytes(kernel)  # 80 numbers, 800 bits
      (3200, 420)
    """
    total = 0
    for leaf in _arrays(params):
        bits = jax.dtypes.itemsize_bits(leaf.dtype)
        kept = int(np.count_nonzero(np.asarray(leaf.astype(np.float32)))) * bits + leaf.size
        total += -(-min(kept, leaf.size * bits) // 8)
    return total


def _arrays(params: Any) -> Iterator[Any]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "size"):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is a {type(leaf).__name__}, not an array: "
                "pass the tree of parameters, `network.params`"
            )
        yield leaf
