"""Rotary position embeddings."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class RopeScaling(NamedTuple):
    """The scaling with which Llama 3 extends rotary positions to longer texts.

    Attributes:
      factor: divisor of the low frequencies.
      low_frequency_factor: rotations with fewer turns within `length` are slowed by `factor`.
      high_frequency_factor: rotations with more turns stay; between the two it is interpolated.
      length: length of the texts that the network was first trained on.

    Example:
      >>> RopeScaling(factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, length=8192)
      RopeScaling(factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, length=8192)
    """

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    length: int


def rotations(
    positions: jax.Array, head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[jax.Array, jax.Array]:
    """Computes cosines and sines of the angles.

    Returns:
      Cosines and sines, `[batch, length, 1, head_dim / 2]` each.

    References:
      Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, 2021. Grattafiori et
      al., The Llama 3 Herd of Models, 2024 (the scaling).
    """
    # In double precision on the host, since angles are large at high positions.
    frequencies = 1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)
    if scaling is not None:
        turns = scaling.length * frequencies / (2 * np.pi)
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept = np.clip((turns - low) / (high - low), 0, 1)
        frequencies = frequencies * (kept + (1 - kept) / scaling.factor)
    angles = positions[..., None, None].astype(jnp.float32) * frequencies.astype(np.float32)
    return jnp.cos(angles), jnp.sin(angles)


def rotated(heads: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates queries or keys `[batch, length, heads, head_dim]` by their positions.

    A pair to rotate is a number of the first half and its counterpart of the second, as in
    published checkpoints, and not two neighbors, as in the paper.

    Returns:
      The rotated queries or keys, of the same shape and dtype.
    """
    cos, sin = rotation
    first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(heads.dtype)
