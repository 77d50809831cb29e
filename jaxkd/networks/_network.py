"""A network as the rest of jaxkd sees it, and functions that the adapters share."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
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


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A pure network with named outputs and the variables it starts from.

    Attributes:
      apply: `apply(params, state, inputs, *, train=False, key=None) -> (outputs, state)`. `outputs`
        is a dictionary with `"logits"` (`[batch, ..., num_classes]`; only `without_logits` leaves
        them out) and one entry for each feature. In evaluation the state comes back unchanged.
        `key` is the PRNG key of dropout, which only networks with random numbers in training need;
        in evaluation outputs must not depend on it.
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
    """

    apply: Apply
    params: PyTree
    state: PyTree
    name: str
    architecture: str
    vocab_size: int | None = dataclasses.field(default=None, kw_only=True)
    random_layers: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    statistics: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    def __call__(self, inputs: Any) -> Outputs:
        """Returns named outputs in evaluation mode, with the network's own variables."""
        return self.apply(self.params, self.state, inputs)[0]

    def replace(self, *, params: PyTree, state: PyTree) -> "Network":
        """Returns the same network with other variables, after training for instance."""
        return dataclasses.replace(self, params=params, state=state)

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


def is_addressable(leaf: Any) -> bool:
    """Returns whether an array lies in this process as a whole; in NumPy it always does."""
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable


def _whole(leaf: Any) -> np.ndarray:
    if not is_addressable(leaf):
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def named(result: Any) -> Outputs:
    """Returns outputs by name, from whatever a network returned."""
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
    """Returns a path of NNX modules or of `jax.tree_util` with dots."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


def vocabulary_of(module: Any) -> int | None:
    """Returns a module's attribute `vocab_size`, None if it has none."""
    found = getattr(module, "vocab_size", None)
    return found if isinstance(found, int) else None


def captured_output(tree: Mapping[Any, Any], name: str, path: list[str]) -> jax.Array:
    """Returns the output of the submodule at `path`; an error names the feature."""
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
