"""The losses of `jaxkd.losses`, each call compiled as one program.

Called as they are, they compile every operation by itself, which takes several times as long.
That both give the same is checked by tests/losses/test_loss_contract.py.
"""

import functools
import inspect

import jax
import numpy as np

from jaxkd import losses

# Functions of the host or of ids that are known, and those that make or mark functions.
AS_THEY_ARE = {
    "align_by_bytes",
    "align_by_position",
    "couples_examples",
    "curriculum_schedule",
    "fused_kd",
    "fused_linear",
    "hybrid_uld",
    "over_stages",
    "returns_sum_and_count",
}


def is_array(leaf):
    return isinstance(leaf, (np.ndarray, jax.Array))


def compiled(function):
    """The function with arrays as arguments of a program, and all else as constants of it."""

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def program(structure, constants, arrays):
        arrays = iter(arrays)
        leaves = [next(arrays) if kind is None else leaf for kind, leaf in constants]
        args, keywords = jax.tree.unflatten(structure, leaves)
        return function(*args, **keywords)

    @functools.wraps(function)
    def call(*args, **keywords):
        leaves, structure = jax.tree.flatten((args, keywords))
        # With their types: 1 and True are equal.
        constants = tuple((None, None) if is_array(leaf) else (type(leaf), leaf) for leaf in leaves)
        try:
            return program(structure, constants, list(filter(is_array, leaves)))
        except (TypeError, ValueError):
            # As users see the message: with arrays, not with what stands for them in a program.
            return function(*args, **keywords)

    return call


@functools.cache
def __getattr__(name):
    value = getattr(losses, name)
    is_loss = inspect.isfunction(inspect.unwrap(value)) and name not in AS_THEY_ARE
    return compiled(value) if is_loss else value
