"""Error messages about two trees: descriptions of their arrays, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxkd.networks import PyTree


def describe_arrays(tree: PyTree) -> dict[str, str]:
    """Describes each array of a tree.

    Args:
      tree: arrays, or their shapes and types.

    Returns:
      Path, as `params/student/head.kernel`, → type and shape, as `float32[64, 10]`.
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            # Of arrays of NumPy too the type that they have in a state, where 64 bits become 32.
            f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def differences(
    one: Mapping[str, object],
    other: Mapping[str, object],
    one_side: str,
    other_side: str,
    *,
    limit: int | None = 5,
) -> str:
    """Lists the entries in which two flat dictionaries differ, for an error message.

    Args:
      one: name → description.
      other: name → description.
      one_side: words behind the entries of `one`, as `"there"`.
      other_side: words behind the entries of `other`, as `"now"`.
      limit: number of entries that are listed at most; None for all.

    Returns:
      `"name: 1 there, 2 now; …"`, empty where the two are equal; an entry that a side lacks is
      `nothing`.
    """
    differing = [
        f"{name}: {one.get(name, 'nothing')} {one_side}, {other.get(name, 'nothing')} {other_side}"
        for name in sorted({*one, *other})
        if name not in one or name not in other or one[name] != other[name]
    ]
    return "; ".join(differing[:limit])
