"""The same network, computed otherwise: in another precision, or with less memory."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.networks._network import Network, PyTree


def cast(network: Network, dtype: Any) -> Network:
    """A network that computes in another precision and keeps its variables as they are.

    Parameters and inputs are cast on the way in, so that gradients come back in the parameters' own
    type: mixed precision with float32 master parameters, which the optimizer updates. Losses
    compute in float32 whatever the outputs are. bfloat16 has the range of float32, so no loss
    scaling is needed; float16 would need it.

    Args:
      network: any network.
      dtype: of the computation, `jnp.bfloat16` for one.

    Returns:
      A network with the same variables; its state comes back in its own types. Its fingerprint
      differs, since its answers do.

    Raises:
      ValueError: a type that is not floating.

    Example:
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> half = cast(network, jnp.bfloat16)
      >>> half(jnp.ones((2, 4)))["logits"].dtype, half.params.dtype
      (dtype(bfloat16), dtype('float32'))

    References:
      Micikevicius et al., Mixed Precision Training, ICLR 2018.
    """
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"a network computes in floating point, not in {dtype}")

    def narrowed(tree: PyTree) -> PyTree:
        return jax.tree.map(
            lambda x: jnp.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    def apply(params, state, inputs, *, train=False, key=None):
        outputs, new_state = network.apply(
            narrowed(params), state, narrowed(inputs), train=train, key=key
        )
        return outputs, jax.tree.map(lambda old, new: new.astype(old.dtype), state, new_state)

    architecture = f"{network.architecture} in {dtype}"
    return dataclasses.replace(network, apply=apply, architecture=architecture)


def remat(network: Network, policy: Any = None) -> Network:
    """A network that keeps less for the backward pass and computes it again there.

    Args:
      network: any network.
      policy: what is kept, as for `jax.checkpoint`; by default the results of matrix products and
        convolutions, so that only what is cheap (activations, normalisations) is repeated.

    Returns:
      A network with the same variables, answers and gradients.

    Example:
      >>> from jaxkd import from_function
      >>> network = remat(from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3))))
      >>> network(jnp.ones((2, 4)))["logits"].shape
      (2, 3)

    References:
      Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
    """

    def apply(params, state, inputs, *, train=False, key=None):
        if not train:
            return network.apply(params, state, inputs, train=train, key=key)

        def run(params, state, inputs, key):
            return network.apply(params, state, inputs, train=True, key=key)

        return jax.checkpoint(run, policy=policy or _products)(params, state, inputs, key)

    return dataclasses.replace(network, apply=apply)


def _products(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in ("dot_general", "conv_general_dilated")
