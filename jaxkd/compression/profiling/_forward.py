"""The forward pass that is measured, and the batch that it takes."""

from collections.abc import Callable
from typing import Any

import jax

from jaxkd.networks import Network


def forward_of(network: Network) -> Callable[[Any, Any, Any], Any]:
    """Returns the pure evaluation pass.

    Parameters and state are arguments, so that XLA cannot compute with them when it compiles.
    """

    def forward(params: Any, state: Any, inputs: Any) -> Any:
        outputs, _ = network.apply(params, state, inputs, train=False)
        return outputs.get("logits", outputs)  # an encoder has no logits: all outputs count

    return forward


def batch_size_of(inputs: Any) -> int:
    """Returns the number of examples of a batch.

    Raises:
      ValueError: the batch is empty, or its arrays differ in their first axis.
    """
    leaves = jax.tree.leaves(inputs)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if len(sizes) != 1 or not (size := sizes.pop()):
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(
            f"inputs must be arrays with one leading batch axis of at least 1, got shapes {shapes}"
        )
    return size


def compile_forward(network: Network, inputs: Any) -> jax.stages.Compiled:
    """Compiles the evaluation pass, with all parameters as its arguments."""
    forward = jax.jit(forward_of(network), keep_unused=True)
    return forward.lower(network.params, network.state, inputs).compile()
