"""The adapter for bare apply functions."""

import inspect
from collections.abc import Callable
from typing import Any

from jaxkd.networks._architecture import describe
from jaxkd.networks._network import Network, PyTree, named


def from_function(
    function: Callable[..., Any],
    params: PyTree,
    *,
    state: PyTree | None = None,
    architecture: str = "",
) -> Network:
    """Adapts a bare apply function.

    Args:
      function: `function(params, inputs)`, or `function(params, state, inputs) -> (outputs, state)`
        if `state` is given. The outputs are logits, or a mapping with `"logits"` and features, or
        `(logits, mapping)`. The keywords `train` and `key` are passed if the function takes them.
      params: a pytree of arrays.
      state: a pytree of arrays that the function returns updated, batch statistics for instance.
      architecture: text that distinguishes this function from others of the same name (sizes,
        activations); part of the fingerprint that caches check.

    Returns:
      A `Network`.

    Example:
      >>> import jax.numpy as jnp
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> network(jnp.ones((2, 4)))["logits"].shape
      (2, 3)
    """
    accepted = inspect.signature(function).parameters
    stateful = state is not None

    def apply(params, state, inputs, *, train=False, key=None):
        options = {k: v for k, v in {"train": train, "key": key}.items() if k in accepted}
        if not stateful:
            return named(function(params, inputs, **options)), state
        result, new_state = function(params, state, inputs, **options)
        return named(result), new_state if train else state

    name = getattr(function, "__name__", type(function).__name__)
    return Network(
        apply, params, state if stateful else {}, name, f"{describe(function)} {architecture}"
    )
