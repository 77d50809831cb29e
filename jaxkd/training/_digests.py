"""Checksums of arrays, computed on their devices: the same on any number of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxkd.networks import PyTree


def digests(tree: PyTree) -> dict[str, int]:
    """Computes a checksum of each array of a tree.

    The array's words are hashed with their positions and added up modulo 2³²: sums of integers do
    not depend on their order, so neither does the result on the devices that share the array. The
    hash of a word is one to one, hence any single wrong word shows, and several of them but for
    chance; it is no defense against malice.

    Args:
      tree: arrays of numbers.

    Returns:
      Path → checksum, an integer of 32 bits.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    sums = jax.device_get(_sums([leaf for _, leaf in leaves]))
    return {jax.tree_util.keystr(p): int(s) for (p, _), s in zip(leaves, sums, strict=True)}


@jax.jit
def _sums(leaves: list[jax.Array]) -> list[jax.Array]:
    return [_sum(leaf) for leaf in leaves]


def _sum(leaf: jax.Array) -> jax.Array:
    if jnp.iscomplexobj(leaf):
        leaf = jnp.stack([leaf.real, leaf.imag])
    if leaf.dtype == jnp.bool_ or jax.dtypes.itemsize_bits(leaf.dtype) < 8:
        leaf = leaf.astype(jnp.int8)
    word = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
    words = jax.lax.bitcast_convert_type(leaf, word).astype(jnp.uint32)
    # Each word's index in the flattened array; a reshape would gather what is sharded.
    positions, stride = jnp.zeros_like(words), 1
    for axis in reversed(range(words.ndim)):
        positions += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride)
        stride = stride * words.shape[axis] % 2**32
    return jnp.sum(_hash(words ^ _hash(positions + jnp.uint32(1))), dtype=jnp.uint32)


def _hash(words: jax.Array) -> jax.Array:
    """Applies the finalizer of MurmurHash3 (Appleby)."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
