"""Rematerialization: less memory for the backward pass."""

import dataclasses
from typing import Any

import jax

from jaxkd.networks._kinds import check_network
from jaxkd.networks._network import Network


def remat(network: Network, policy: Any = None) -> Network:
    """Stores less for a network's backward pass, and computes the rest again there.

    Args:
      network: any network.
      policy: policy of `jax.checkpoint`; None stores the results of matrix products and
        convolutions, so that only inexpensive operations (activations, normalizations) are
        repeated.

    Returns:
      A network with the same variables, outputs and gradients.

    Raises:
      TypeError: a module in place of a network; says how to make one of it.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = remat(from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3))))
      >>> network(jnp.ones((2, 4)))["logits"].shape
      (2, 3)

    References:
      Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
    """
    check_network("network", network)

    def apply(params, state, inputs, *, train=False, key=None):
        if not train:
            return network.apply(params, state, inputs, train=train, key=key)

        def run(params, state, inputs, key):
            return network.apply(params, state, inputs, train=True, key=key)

        return jax.checkpoint(run, policy=policy or _products)(params, state, inputs, key)

    return dataclasses.replace(network, apply=apply)


def _products(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in ("dot_general", "conv_general_dilated", "cpu_convolution")
