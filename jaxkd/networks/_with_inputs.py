"""Networks that get other inputs than those of the batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxkd.networks._architecture import described_call
from jaxkd.networks._kinds import check_network
from jaxkd.networks._network import Network


def with_inputs(network: Network, function: Callable[[Any], Any]) -> Network:
    """Changes the inputs before a network gets them.

    For a teacher that sees otherwise than the student: another normalization or size, one entry of
    dictionary inputs, other names of them.

    Args:
      network: any network.
      function: pure function from the inputs of a batch to those of the network. It treats each
        example by itself.

    Returns:
      A network with the same variables, and an architecture of its own. How many tokens it has
      embeddings for is not known, since the function may map them.

    Raises:
      TypeError: no network, or no function.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> teacher = with_inputs(network, lambda inputs: (inputs["image"] - 0.5) / 0.25)
      >>> teacher({"image": jnp.ones((1, 3))})["logits"].tolist()
      [[2.0, 2.0, 2.0]]
    """
    check_network("network", network)
    if not callable(function):
        raise TypeError(
            "with_inputs takes a function of the inputs, "
            f"with_inputs(network, lambda inputs: inputs['image']), not {function!r}"
        )

    def apply(params, state, inputs, *, train=False, key=None):
        return network.apply(params, state, function(inputs), train=train, key=key)

    return dataclasses.replace(
        network,
        apply=apply,
        architecture=described_call(network.architecture, inputs=function),
        vocab_size=None,
    )
