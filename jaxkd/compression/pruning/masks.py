"""Masks that set the smallest weights to zero, and the sparsity of a tree."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.networks import PyTree
from jaxkd.networks._network import dotted

Where = Callable[[str, Any], bool]
"""`where(path, leaf)` says whether a leaf is pruned."""

Structure = tuple[int, int]
"""`(n, m)`: of every m weights along the input axis, n stay."""

SCOPES = ("global", "layer")


def prunable(path: str, leaf: Any) -> bool:
    """Says whether a leaf is pruned by default: kernels are, without those of connectors.

    Biases, normalizations and embeddings stay dense, and so does everything that a `TrainState`
    trains beside the student.

    Args:
      path: path of the leaf, with dots: `"student.head.kernel"`, `"head.kernel"`.
      leaf: the array.

    Returns:
      True for a kernel with two axes or more.

    Example:
      >>> prunable("head.kernel", jnp.ones((4, 3))), prunable("head.bias", jnp.ones(3))
      (True, False)
    """
    return (
        path.rpartition(".")[2] == "kernel"
        and leaf.ndim >= 2
        and path.partition(".")[0] != "connectors"
    )


def magnitude_masks(
    params: PyTree,
    sparsity: float | jax.Array | None = None,
    *,
    scope: str = "global",
    structure: Structure | None = None,
    where: Where = prunable,
) -> PyTree:
    """Makes masks that keep the largest weights.

    Of `size` weights exactly `round(sparsity · size)` are masked; among equals the first ones are.
    A mask saves no time on the usual hardware, which multiplies zeros like other numbers
    (`jaxkd.compression.shrink` does save time); with a structure of 2 in 4 it can on GPUs
    that have sparse tensor cores, through a library that uses them.

    Args:
      params: a pytree of arrays.
      sparsity: share of the weights to mask, in [0, 1]; may be traced.
      scope: `"global"` compares the weights of all layers, `"layer"` those of each with each other.
      structure: instead of a sparsity, `(n, m)`: of every m weights that follow each other along
        the input axis, the second to last, the n largest stay. Sparse tensor cores need `(2, 4)`.
      where: `where(path, leaf)` says which leaves are pruned; see `prunable`.

    Returns:
      A tree of boolean arrays like the parameters, True for weights that stay; all True where
      nothing is pruned.

    Raises:
      ValueError: both or none of sparsity and structure are given, the sparsity is outside of
        [0, 1], the scope is unknown, there is nothing to prune, or an input axis does not fall into
        groups of m.

    Example:
      >>> params = {"kernel": jnp.array([[3.0, -1.0], [0.5, 2.0]]), "bias": jnp.zeros(2)}
      >>> magnitude_masks(params, 0.5)["kernel"]
      Array([[ True, False],
             [False,  True]], dtype=bool)

    References:
      Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015.
      Mishra et al., Accelerating Sparse Deep Neural Networks, 2021 (2 in 4).
    """
    check_options(sparsity, scope, structure)
    found = pruned_leaves(params, where, structure)
    made = masks_of(found, sparsity, scope, structure)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: made.get(dotted(path), jnp.ones(leaf.shape, bool)), params
    )


def apply_masks(params: PyTree, masks: PyTree) -> PyTree:
    """Sets masked parameters to zero.

    Args:
      params: a pytree of arrays.
      masks: masks of the same structure, from `magnitude_masks`.

    Returns:
      The masked parameters.

    Example:
      >>> apply_masks({"kernel": jnp.ones(2)}, {"kernel": jnp.array([True, False])})
      {'kernel': Array([1., 0.], dtype=float32)}
    """
    return jax.tree.map(lambda p, mask: jnp.where(mask, p, jnp.zeros_like(p)), params, masks)


@dataclasses.dataclass(frozen=True)
class Sparsity:
    """The share of weights that are zero.

    Attributes:
      total: share of zeros in all leaves that count.
      leaves: path → share of zeros.
      nonzero: number of weights in these leaves that are not zero.

    Example:
      >>> found = sparsity({"head": {"kernel": jnp.array([[0.0, 1.0, 2.0, 0.0]])}})
      >>> found
      Sparsity(total=0.5, leaves={'head.kernel': 0.5}, nonzero=2)
    """

    total: float
    leaves: dict[str, float]
    nonzero: int

    def __str__(self) -> str:
        """Returns one line for each leaf, and the total."""
        lines = [f"{path}: {share:.1%}" for path, share in self.leaves.items()]
        return "\n".join([*lines, f"total: {self.total:.1%}, {self.nonzero:,} weights left"])


def sparsity(params: PyTree, *, where: Where = prunable) -> Sparsity:
    """Measures how sparse a tree is.

    Args:
      params: a pytree of arrays.
      where: which leaves count, as in `magnitude_masks`.

    Returns:
      The shares of zeros.

    Raises:
      ValueError: no leaf counts.

    Example:
      >>> print(sparsity({"head": {"kernel": jnp.array([[0.0, 1.0, 2.0, 0.0]])}}))
      head.kernel: 50.0%
      total: 50.0%, 2 weights left
    """
    found = pruned_leaves(params, where, None)
    nonzero = {path: int(jnp.count_nonzero(leaf)) for path, leaf in found.items()}
    left, size = sum(nonzero.values()), sum(leaf.size for leaf in found.values())
    shares = {path: 1 - nonzero[path] / leaf.size for path, leaf in found.items()}
    return Sparsity(1 - left / size, shares, left)


def check_options(sparsity: Any, scope: str, structure: Structure | None) -> None:
    """Refuses options that are contradictory, missing or out of range."""
    if (sparsity is None) == (structure is None):
        raise ValueError(
            f"give either a sparsity or a structure (n, m), not sparsity={sparsity} with "
            f"structure={structure}"
        )
    known = not (sparsity is None or callable(sparsity) or isinstance(sparsity, jax.core.Tracer))
    if known and not 0 <= float(sparsity) <= 1:
        raise ValueError(f"sparsity is the share that is masked, in [0, 1], not {sparsity}")
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {list(SCOPES)}, not {scope!r}")
    if structure is not None and not (len(structure) == 2 and 1 <= structure[0] <= structure[1]):
        raise ValueError(f"structure is (n, m) with 1 <= n <= m, such as (2, 4), not {structure}")


def pruned_leaves(params: PyTree, where: Where, structure: Structure | None) -> dict[str, Any]:
    """Selects the leaves to prune.

    Args:
      params: a pytree of arrays.
      where: which leaves are pruned.
      structure: `(n, m)`, if there is one.

    Returns:
      Path → leaf.

    Raises:
      ValueError: there is no leaf to prune, or m does not divide an input axis.
    """
    leaves = [(dotted(path), x) for path, x in jax.tree_util.tree_leaves_with_path(params)]
    found = {path: leaf for path, leaf in leaves if where(path, leaf) and leaf.size}
    if not found:
        raise ValueError(
            f"where= selects none of {[path for path, _ in leaves]}: say which arrays are weights, "
            "as in where=lambda path, leaf: leaf.ndim >= 2"
        )
    if structure is not None:
        misfits = [
            f"{path} {leaf.shape}"
            for path, leaf in found.items()
            if leaf.ndim < 2 or leaf.shape[-2] % structure[1]
        ]
        if misfits:
            raise ValueError(
                f"the input axis, the second to last, is no multiple of {structure[1]} in "
                f"{misfits}: leave these out by where="
            )
    return found


def masks_of(
    leaves: Mapping[str, jax.Array],
    sparsity: Any,
    scope: str,
    structure: Structure | None,
    below: Mapping[str, jax.Array] | None = None,
) -> dict[str, jax.Array]:
    """Makes the masks of leaves; pure, and the sparsity may be traced.

    Args:
      leaves: path → array.
      sparsity: as in `magnitude_masks`.
      scope: as in `magnitude_masks`.
      structure: as in `magnitude_masks`.
      below: path → boolean array of the weights that are masked before all others.

    Returns:
      Path → mask.
    """
    # In float32, which holds bfloat16 exactly.
    sizes = {path: jnp.abs(leaf.astype(jnp.float32)) for path, leaf in leaves.items()}
    if below is not None:
        sizes = {path: jnp.where(below[path], -1.0, size) for path, size in sizes.items()}
    if structure is not None:
        return {path: _largest_of_each(size, *structure) for path, size in sizes.items()}
    if scope == "layer":
        return {path: _largest(x.ravel(), sparsity).reshape(x.shape) for path, x in sizes.items()}
    flat = _largest(jnp.concatenate([size.ravel() for size in sizes.values()]), sparsity)
    masks, start = {}, 0
    for path, size in sizes.items():
        masks[path] = flat[start : start + size.size].reshape(size.shape)
        start += size.size
    return masks


def _ranks(values: jax.Array) -> jax.Array:
    """The rank of each number in ascending order along the last axis; every rank occurs once."""
    return jnp.argsort(jnp.argsort(values, axis=-1, stable=True), axis=-1)


def _largest(values: jax.Array, sparsity: Any) -> jax.Array:
    masked = jnp.round(jnp.asarray(sparsity, jnp.float32) * values.size).astype(jnp.int32)
    return _ranks(values) >= masked


def _largest_of_each(values: jax.Array, n: int, m: int) -> jax.Array:
    # The groups lie along the input axis, which is made the last axis for this.
    swapped = jnp.swapaxes(values, -1, -2)
    groups = swapped.reshape(*swapped.shape[:-1], -1, m)
    return jnp.swapaxes((_ranks(groups) >= m - n).reshape(swapped.shape), -1, -2)
