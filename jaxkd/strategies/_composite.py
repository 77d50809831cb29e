"""Networks made of networks, and the way back to their members."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from jaxkd.networks import Network, PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class CompositeNetwork(Network):
    """A network made of others, which it can return with their trained variables.

    Attributes:
      members: function from params and state of the whole to the networks inside, by name.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> from jaxkd.strategies import joint_network
      >>> one = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> both = joint_network({"a": one, "b": one})
      >>> isinstance(both, CompositeNetwork), sorted(both.members(both.params, both.state))
      (True, ['a', 'b'])
    """

    members: Callable[[PyTree, PyTree], dict[str, Network]]


def member_networks(network: Network) -> dict[str, Network]:
    """Returns the networks that one of `joint_network` and its like was made of.

    Args:
      network: network of `joint_network`, `with_moving_average` or `data_free`, after training as
        `state.network(network)`.

    Returns:
      Plain networks with the variables that the composite has, by name: the members of
      `joint_network`; `live` and `average` of `with_moving_average`; `student` and `generator` of
      `data_free`.

    Raises:
      TypeError: a network that was not made of others.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> from jaxkd.strategies import joint_network
      >>> one = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> both = joint_network({"a": one, "b": one})
      >>> doubled = {"a": one.params, "b": 2 * one.params}
      >>> members = member_networks(both.replace(params=doubled, state=both.state))
      >>> members["b"](jnp.ones((1, 3)))["logits"]
      Array([[2., 2., 2.]], dtype=float32)
    """
    if not isinstance(network, CompositeNetwork):
        raise TypeError(
            f"{network.name} is not made of other networks: member_networks takes what "
            "joint_network, with_moving_average or data_free returned, with nothing around it but "
            "networks.remat or networks.add_outputs"
        )
    return network.members(network.params, network.state)


def layers_of(networks: Mapping[str, Network]) -> dict[str, Any]:
    """Returns the random layers and the statistics of networks, after the networks' names."""

    def paths(field: str) -> tuple[str, ...]:
        return tuple(f"{n}.{path}" for n, part in networks.items() for path in getattr(part, field))

    return {field: paths(field) for field in ("random_layers", "statistics")}


def is_float(leaf: Any) -> bool:
    """Returns whether an array holds floating numbers: no counters, no random keys."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def at_least_float32(leaf: Any) -> Any:
    """Returns an array in float32, or in its own wider type."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
