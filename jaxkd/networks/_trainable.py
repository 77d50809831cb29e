"""Which parameters of a network are trained; the others are kept in its state."""

import dataclasses
import fnmatch
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.networks._network import PyTree, dotted

# What the adapters take as `trainable`; NNX filters in `from_nnx` alone.
Trainable = Any
_EXAMPLES = (
    "a path pattern, trainable='head.*', several of them, or a function of path and array, "
    "trainable=lambda path, leaf: leaf.ndim > 1; for NNX also a filter, trainable=nnx.LoRAParam"
)


@dataclasses.dataclass(frozen=True)
class Split:
    """Parameters in two trees: those that are trained, and those that are not.

    Attributes:
      trained: the tree without the leaves that are not trained.
      frozen: the tree of these alone.
      paths: dotted paths of the leaves that are trained.
    """

    trained: PyTree
    frozen: PyTree
    paths: tuple[str, ...]
    _leaves: tuple[str, ...]
    _structure: Any

    @classmethod
    def of(cls, params: PyTree, trainable: Trainable, name: str) -> "Split":
        """Splits parameters.

        Args:
          params: all parameters.
          trainable: patterns, or a function of path and array.
          name: name of the network, for messages.

        Returns:
          The two trees; a leaf keeps its path, and what is empty of a mapping is left out.

        Raises:
          TypeError: a `trainable` of another kind.
          ValueError: no parameter matches, or one that cannot be trained; names the paths.
        """
        matches = _predicate(trainable)
        found = jax.tree_util.tree_leaves_with_path(params)
        known = [dotted(path) for path, _ in found]
        chosen = {p for p, (_, leaf) in zip(known, found, strict=True) if matches(p, leaf)}
        if not chosen:
            raise ValueError(
                f"trainable={trainable!r} matches no parameter of {name}; there are "
                f"{known[:20]}{' and more' if len(known) > 20 else ''}"
            )
        fixed = [
            f"{path} of {jnp.result_type(leaf)}"
            for path, (_, leaf) in zip(known, found, strict=True)
            if path in chosen and not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        ]
        if fixed:
            raise ValueError(f"trainable matches {fixed}, which have no gradients: leave them out")

        def part(inside: bool) -> PyTree:
            kept = jax.tree_util.tree_map_with_path(
                lambda path, leaf: leaf if (dotted(path) in chosen) is inside else None, params
            )
            return _without_empty(kept)

        leaves = tuple(jax.tree_util.keystr(path) for path, _ in found)
        structure = jax.tree.structure(params)
        return cls(part(True), part(False), tuple(sorted(chosen)), leaves, structure)

    def merged(self, trained: PyTree, frozen: PyTree) -> PyTree:
        """Returns all parameters as one tree, of the structure that was split."""
        found = {
            jax.tree_util.keystr(path): leaf
            for tree in (trained, frozen)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        return jax.tree.unflatten(self._structure, [found[path] for path in self._leaves])


def _predicate(trainable: Trainable) -> Callable[[str, Any], bool]:
    if isinstance(trainable, str):
        trainable = (trainable,)
    if isinstance(trainable, tuple | list) and all(isinstance(p, str) for p in trainable):
        # The path of a module stands for all that it has.
        patterns = [pattern for given in trainable for pattern in (given, f"{given}.*")]
        return lambda path, leaf: any(fnmatch.fnmatchcase(path, p) for p in patterns)
    if callable(trainable) and not inspect.isclass(trainable):
        return lambda path, leaf: bool(trainable(path, leaf))
    raise TypeError(f"trainable is {_EXAMPLES}, not {trainable!r}")


def _without_empty(node: Any) -> Any:
    """Returns a tree without the entries of mappings that have no leaves."""
    if not isinstance(node, Mapping):
        return node
    return {key: _without_empty(value) for key, value in node.items() if jax.tree.leaves(value)}
