"""A network as the rest of jaxkd sees it, and functions that the adapters share."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

PyTree = Any
Outputs = dict[str, jax.Array]


class Apply(Protocol):
    """The call of a `Network`."""

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        inputs: Any,
        *,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[Outputs, PyTree]:
        """Returns named outputs and the new state."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Source:
    """The module that a network was made of.

    Attributes:
      apply: call of the network; a network with another one has something around the module.
      edit: `edit(params, state, change)`, the network of what `change` makes of the module.
    """

    apply: Apply
    edit: Callable[[PyTree, PyTree, Callable[[Any], Any]], "Network"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A pure network with named outputs and the variables it starts from.

    Attributes:
      apply: `apply(params, state, inputs, *, train=False, key=None) -> (outputs, state)`. `outputs`
        is a dictionary of arrays `[batch, ...]` by name: `"logits"` `[batch, ..., num_classes]`
        where the network has classes, and one entry for each feature. `inputs` is an array or a
        pytree of them. In evaluation the state comes back unchanged. `key` is the PRNG key of
        dropout, which only networks with random numbers in training need; in evaluation outputs
        must not depend on it.
      params: trained parameters, a pytree of arrays.
      state: other variables, batch statistics for instance, a pytree of arrays.
      name: name of the class or function, for messages.
      architecture: text that distinguishes two networks of equal parameters (layer classes,
        activations, strides); part of the fingerprint.
      vocab_size: number of tokens that it has embeddings for, a module's own `vocab_size`; None if
        unknown. Data of more tokens are refused before work starts.
      random_layers: paths of the layers that are random in training, dropout of a rate above zero,
        as far as they are known; a training call that needs no key is refused before training.
      statistics: paths of the statistics that training moves, as far as they are known; a training
        call that moves none is refused likewise.
      whole: function from params and state to all parameters as one tree, where `trainable` has
        moved some into the state; None where `params` are all.
      source: the NNX module that it was made of, for `edit_module`; None for any other.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> network, network(jnp.ones((2, 3)))["logits"].shape
      (Network('<lambda>': 9 parameters), (2, 3))
      >>> inputs = jnp.ones((2, 3))
      >>> outputs, state = network.apply(network.params, network.state, inputs, train=True)
    """

    apply: Apply
    params: PyTree
    state: PyTree
    name: str
    architecture: str
    vocab_size: int | None = dataclasses.field(default=None, kw_only=True)
    random_layers: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    statistics: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    whole: Callable[[PyTree, PyTree], PyTree] | None = dataclasses.field(default=None, kw_only=True)
    source: Source | None = dataclasses.field(default=None, kw_only=True)

    def __repr__(self) -> str:
        state = f", {count_of(self.state, 'number')} in its state" if self.state else ""
        return f"Network({self.name!r}: {count_of(self.params, 'parameter')}{state})"

    def __call__(self, inputs: Any) -> Outputs:
        """Returns named outputs in evaluation mode, with the network's own variables."""
        return self.apply(self.params, self.state, inputs)[0]

    def replace(self, *, params: PyTree, state: PyTree) -> "Network":
        """Returns the same network with other variables, after training for instance."""
        return dataclasses.replace(self, params=params, state=state)

    def all_params(self, params: PyTree = None, state: PyTree = None) -> PyTree:
        """Returns all parameters, with those that are not trained.

        Args:
          params: trained parameters, by default the network's own.
          state: the state, by default the network's own.
        """
        params = self.params if params is None else params
        state = self.state if state is None else state
        return params if self.whole is None else self.whole(params, state)

    def fingerprint(self) -> dict[str, str]:
        """Returns hashes that identify this network: of its architecture and its parameters.

        Returns:
          `{"network": name, "architecture": "sha256:…", "parameters": "sha256:…"}`. A cache stores
          it and refuses another teacher. Reads every array once; where arrays are spread over
          several processes, these call it together.
        """
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path((self.params, self.state)):
            array = _whole(leaf)
            digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "network": self.name,
            "architecture": "sha256:" + hashlib.sha256(self.architecture.encode()).hexdigest(),
            "parameters": "sha256:" + digest.hexdigest(),
        }


def count_of(tree: PyTree, what: str) -> str:
    """Returns in words how many numbers a tree of arrays, or of their shapes, has."""
    return plural(sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(tree)), what)


def plural(count: int, what: str) -> str:
    """Returns `"1 row"`, `"2 rows"`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def is_addressable(leaf: Any) -> bool:
    """Returns whether an array lies in this process as a whole; in NumPy it always does."""
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable


def _whole(leaf: Any) -> np.ndarray:
    if not is_addressable(leaf):
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def dotted(path: Iterable[Any]) -> str:
    """Returns a path of NNX modules or of `jax.tree_util` with dots."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


def vocabulary_of(module: Any) -> int | None:
    """Returns a module's attribute `vocab_size`, None if it has none."""
    found = getattr(module, "vocab_size", None)
    return found if isinstance(found, int) else None
