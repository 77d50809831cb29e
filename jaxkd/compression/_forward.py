"""The forward pass that is measured, and the batch that it takes."""

from collections.abc import Callable
from typing import Any

import jax

from jaxkd.networks import Network


def forward_of(network: Network) -> Callable[[Any, Any, Any], Any]:
    """The pure evaluation pass; parameters are arguments, so that XLA cannot fold them away."""

    def forward(params: Any, state: Any, inputs: Any) -> Any:
        outputs, _ = network.apply(params, state, inputs, train=False)
        return outputs.get("logits", outputs)  # An encoder has no logits: all of its outputs count.

    return forward


def batch_size_of(inputs: Any) -> int:
    """How many examples a batch has; ValueError where its arrays do not agree, or it is empty."""
    leaves = jax.tree.leaves(inputs)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if len(sizes) != 1 or not (size := sizes.pop()):
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(
            f"inputs must be arrays with one leading batch axis of at least 1, got shapes {shapes}."
        )
    return size
