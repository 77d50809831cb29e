"""Weights under the names and in the layout of the references, put into our modules."""

import jax.numpy as jnp
from flax import nnx

from golden_calls._options import Mismatch


def load(module, weights):
    """The module in training mode with other weights; may be called inside what is traced.

    All its numbers get the widest type that is enabled, so that no statistics of a float64 batch
    are written to float32.

    Args:
      module: an NNX module.
      weights: from dotted path of a variable to its array. What goes into a `kernel` may be in the
        references' layout, `[out, in]` or `[out, in, height, width]`; a 1x1 convolution may go into
        a linear layer.
    """
    graphdef, state = nnx.split(module)
    flat = {".".join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}
    replaced = {
        path: leaf.replace(leaf.get_value().astype(float))
        for path, leaf in flat.values()
        if jnp.issubdtype(leaf.get_value().dtype, jnp.floating)
    }
    for name, array in weights.items():
        assert name in flat, f"{type(module).__name__} has no {name!r} among {sorted(flat)}"
        path, leaf = flat[name]
        wanted = leaf.get_value().shape
        if name.split(".")[-1] == "kernel":
            array = _kernel(jnp.asarray(array), len(wanted))
        if array.shape != wanted:
            raise Mismatch(f"{name} of shape {wanted} cannot be {array.shape}")
        replaced[path] = leaf.replace(array)
    state = nnx.from_flat_state(
        [(path, replaced.get(path, leaf)) for path, leaf in nnx.to_flat_state(state)]
    )
    module = nnx.merge(graphdef, state)
    module.train()
    return module


def _kernel(weight, rank):
    """`[out, in, ...]` as `[..., in, out]`, of the given rank."""
    if weight.ndim == 4 and rank == 2:
        weight = jnp.squeeze(weight, (2, 3))
    return jnp.moveaxis(weight, (0, 1), (-1, -2))
