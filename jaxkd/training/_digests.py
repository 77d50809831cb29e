"""Checksums of arrays, computed where they lie: the same on any number of devices."""

import jax
import jax.numpy as jnp

from jaxkd.networks import PyTree

# Odd, so that a flipped bit anywhere changes the sum; from SplitMix's increment.
_ODD = 0x9E3779B9


def digests(tree: PyTree) -> dict[str, int]:
    """A number for each array of a tree, by path.

    Sums modulo 2³² of the array's words, each times an odd number of its place: sums of integers do
    not depend on their order, so neither does the result on the devices that share the array. Any
    single wrong word shows; it is no defence against malice.

    Args:
      tree: arrays.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    sums = jax.device_get(_sums([leaf for _, leaf in leaves]))
    return {jax.tree_util.keystr(p): int(s) for (p, _), s in zip(leaves, sums, strict=True)}


@jax.jit
def _sums(leaves: list[jax.Array]) -> list[jax.Array]:
    return [_sum(leaf) for leaf in leaves]


def _sum(leaf: jax.Array) -> jax.Array:
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint8)
    size = leaf.dtype.itemsize
    words = jax.lax.bitcast_convert_type(leaf, {1: jnp.uint8, 2: jnp.uint16}.get(size, jnp.uint32))
    words = words.astype(jnp.uint32)
    total = jnp.zeros_like(words)
    stride = 1
    for axis in reversed(range(words.ndim)):
        total += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride)
        stride = stride * words.shape[axis] % 2**32
    places = total * jnp.uint32(2 * _ODD % 2**32) + jnp.uint32(1)
    return jnp.sum(words * places, dtype=jnp.uint32)
