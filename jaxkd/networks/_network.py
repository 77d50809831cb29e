"""A network as the rest of jaxkd sees it, and what the adapters share."""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxkd.networks._architecture import MODE_ARGUMENTS

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


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A pure network with named outputs and the variables it starts from.

    Attributes:
      apply: `apply(params, state, inputs, *, train=False, key=None) -> (outputs, state)`. `outputs`
        is a dictionary with `"logits"` (`[batch, ..., num_classes]`; only `without_logits` leaves
        them out) and one entry for each feature. In evaluation the state comes back unchanged.
        `key` feeds dropout and is needed only by networks that draw random numbers in training.
      params: what is trained, a pytree of arrays.
      state: what changes without being trained, batch statistics for instance. A pytree.
      name: the class or function name, for people.
      architecture: a text that tells two networks with equal parameters apart (layer classes,
        activations, strides); part of the fingerprint.
      vocab_size: how many tokens it has embeddings for, as a module's own `vocab_size` says; None
        if it says nothing. Data of more tokens are refused before work starts.
    """

    apply: Apply
    params: PyTree
    state: PyTree
    name: str
    architecture: str
    vocab_size: int | None = dataclasses.field(default=None, kw_only=True)

    def __call__(self, inputs: Any) -> Outputs:
        """Named outputs in evaluation mode, with the network's own variables."""
        return self.apply(self.params, self.state, inputs)[0]

    def replace(self, *, params: PyTree, state: PyTree) -> "Network":
        """The same network with other variables, after training for instance."""
        return dataclasses.replace(self, params=params, state=state)

    def fingerprint(self) -> dict[str, str]:
        """Names this very network: its class, its architecture and its parameters.

        Returns:
          `{"network": name, "architecture": "sha256:…", "parameters": "sha256:…"}`. A cache keeps
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


def _whole(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def named(result: Any) -> Outputs:
    """Outputs by name, from whatever a network returned."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        return {"logits": result[0], **result[1]}
    if isinstance(result, Mapping):
        if "logits" not in result:
            raise ValueError(f"a network's outputs need 'logits'; these have {sorted(result)}")
        return dict(result)
    if hasattr(result, "shape"):
        return {"logits": result}
    raise TypeError(
        "a network returns logits, a mapping with 'logits', or (logits, mapping of features), "
        f"not {type(result).__name__}"
    )


def dotted(path: Iterable[Any]) -> str:
    """A path as jaxkd writes it, of NNX modules and of `jax.tree_util` alike."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


def vocabulary_of(module: Any) -> int | None:
    """The number of tokens that a module says it has embeddings for."""
    found = getattr(module, "vocab_size", None)
    return found if isinstance(found, int) else None


def mode_arguments(call: Callable[..., Any]) -> Callable[[bool], dict[str, bool]]:
    """How to tell a module that it is trained, as keywords of its `__call__`."""
    accepted = [name for name in inspect.signature(call).parameters if name in MODE_ARGUMENTS]
    return lambda train: {name: MODE_ARGUMENTS[name] == train for name in accepted}


def captured_output(tree: Mapping[Any, Any], name: str, path: list[str]) -> jax.Array:
    """What the submodule at `path` returned, or a ValueError that names the feature."""
    node: Any = tree
    for part in path:
        node = {str(key): value for key, value in node.items()}.get(part, {})
    values = node.get("__call__", ())
    if len(values) != 1:
        raise ValueError(
            f"feature {name!r}: the submodule {'.'.join(path)!r} was called {len(values)} times "
            "in the forward pass; a feature needs a submodule that is called exactly once"
        )
    return values[0]
