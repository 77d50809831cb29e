"""Networks made of networks that can be taken out again."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxkd.networks import Network, PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class Composite(Network):
    """A `Network` that knows its members.

    Attributes:
      members: from params and state of the whole to the networks inside, by name.
    """

    members: Callable[[PyTree, PyTree], dict[str, Network]]


def split(network: Network) -> dict[str, Network]:
    """The networks inside of one made by `join`, `with_average` or `data_free`.

    Args:
      network: the whole, after training as `state.network(network)`.

    Returns:
      Plain networks with the variables that the whole has, by name: the members of `join`; `live`
      and `average` of `with_average`; `student` and `generator` of `data_free`.

    Raises:
      TypeError: a network that was not made of others.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> from jaxkd.strategies import join
      >>> one = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> both = join({"a": one, "b": one})
      >>> doubled = {"a": one.params, "b": 2 * one.params}
      >>> split(both.replace(params=doubled, state=both.state))["b"](jnp.ones((1, 3)))["logits"]
      Array([[2., 2., 2.]], dtype=float32)
    """
    if not isinstance(network, Composite):
        raise TypeError(
            f"{network.name} is not made of other networks: split takes what join, with_average or "
            "data_free made, with nothing around it but networks.remat or networks.add_outputs"
        )
    return network.members(network.params, network.state)


def is_float(leaf: Any) -> bool:
    """Whether an array holds floating numbers: no counters, no random keys."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def at_least_float32(leaf: Any) -> Any:
    """An array in float32, or in its own wider type."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
