"""Trees of variables as flat dictionaries from dotted name to array."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxkd.networks import Network, PyTree

# The fields of a train state that are no variables of a network.
_NO_VARIABLES = frozenset({"step", "opt_state", "key"})


def flat_variables(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested variables to arrays by their names joined with dots.

    The names of collections are left out, such as `params` and `batch_stats` of Linen, and so are
    the other fields of a train state. Of a `jaxkd.TrainState` the student is taken, and the arrays
    of an NNX state are named after the variables that hold them.

    Args:
      tree: variables of a Linen module, an `nnx.State` or its pure dictionary, the fields of a
        train state, or a flat dictionary.

    Returns:
      Name → array.

    Raises:
      ValueError: two arrays have one name.
    """
    tree = dict(tree)
    if "params" in tree:
        tree = {name: value for name, value in tree.items() if name not in _NO_VARIABLES}
        if "model_state" in tree:
            params, state = (tree[part].get("student", {}) for part in ("params", "model_state"))
            tree = {"params": params, **(state if _has_collections(params, state) else {"": state})}
        return _merged(_named(value) for value in tree.values() if isinstance(value, Mapping))
    return _merged([_named(tree)])


def _has_collections(params: PyTree, state: PyTree) -> bool:
    """Whether a state is one of Linen's collections, and not of parts as networks.extend makes."""
    if not isinstance(params, Mapping) or not isinstance(state, Mapping):
        return False
    return not set(params) & set(state) and all(isinstance(v, Mapping) for v in state.values())


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    paths = [
        ([_part(key) for key in path], leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    # An NNX variable is a node of its own above its array.
    if paths and all(len(path) > 1 and path[-1] == "value" for path, _ in paths):
        paths = [(path[:-1], leaf) for path, leaf in paths]
    return [(".".join(path), leaf) for path, leaf in paths]


def _part(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _merged(parts) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part:
            if name in merged:
                raise ValueError(
                    f"two of the source's arrays are called {name!r}: load its collections one by "
                    "one with strict=False"
                )
            merged[name] = value
    return merged


class NetworkVariables:
    """The variables of a network by name, which can be replaced.

    Attributes:
      arrays: name → array. Paths of an NNX network are as they are; those of nested variables are
        joined with dots, a Linen network's state without its collection.
    """

    def __init__(self, network: Network):
        """Names the variables.

        Raises:
          ValueError: two variables have one name.
        """
        self._network = network
        self._params, self._state = ([n for n, _ in _named(t)] for t in _both(network))
        if _has_collections(network.params, network.state):
            self._state = [name.partition(".")[2] for name in self._state]
        names = [*self._params, *self._state]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two variables of {network.name} are called {double[0]!r}")
        leaves = [leaf for tree in _both(network) for leaf in jax.tree.leaves(tree)]
        self.arrays: dict[str, Any] = dict(zip(names, leaves, strict=True))

    def replace(self, arrays: Mapping[str, Any]) -> Network:
        """Returns the network with these arrays, and its own where none is given."""
        params, state = (
            jax.tree.unflatten(
                jax.tree.structure(tree), [arrays.get(name, self.arrays[name]) for name in names]
            )
            for names, tree in zip((self._params, self._state), _both(self._network), strict=True)
        )
        return self._network.replace(params=params, state=state)


def _both(network: Network) -> tuple[PyTree, PyTree]:
    return network.params, network.state
