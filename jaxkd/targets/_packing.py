"""Class ids in the smallest width: one byte, two, or packed bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np

# An id starts within a byte and must lie within the four that are read for it.
_MOST_BITS = 25
# Up to this many classes, ids fit a NumPy type with so few bits unused that packing does not pay.
_UNPACKED = 65_536


def id_layout(count: int, num_classes: int) -> tuple[int, str]:
    """Returns length and dtype name of the array that stores `count` class ids.

    Args:
      count: number of ids.
      num_classes: number of classes.

    Example:
      >>> id_layout(64, 1000), id_layout(64, 128_256)
      ((64, 'uint16'), (136, 'uint8'))
    """
    if num_classes <= _UNPACKED:
        return count, "uint8" if num_classes <= 256 else "uint16"
    _check_width(_width(num_classes))
    return (count * _width(num_classes) + 7) // 8, "uint8"


def encode_ids(ids: jax.Array, num_classes: int) -> jax.Array:
    """Encodes class ids `[..., count]` as they are stored."""
    if num_classes > _UNPACKED:
        return pack(ids, _width(num_classes))
    return ids.astype(id_layout(ids.shape[-1], num_classes)[1])


def decode_ids(stored: jax.Array, count: int, num_classes: int) -> jax.Array:
    """Decodes class ids, int32 `[..., count]`."""
    if num_classes > _UNPACKED:
        return unpack(stored, _width(num_classes), count)
    return jnp.asarray(stored).astype(jnp.int32)


def pack(ids: jax.Array, width: int) -> jax.Array:
    """Packs integers of `width` bits one after the other, the lowest bit first.

    Args:
      ids: integers `[..., count]`, from 0 to `2**width - 1`.
      width: bits of each, at most 25.

    Returns:
      uint8 `[..., ceil(count * width / 8)]`.

    Example:
      >>> pack(jnp.array([1, 2, 3]), 3)
      Array([209,   0], dtype=uint8)
    """
    _check_width(width)
    bits = (ids.astype(jnp.uint32)[..., None] >> np.arange(width, dtype=np.uint32)) & 1
    bits = bits.reshape(*ids.shape[:-1], -1)
    padding = -bits.shape[-1] % 8
    bits = jnp.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, padding)])
    octets = bits.reshape(*ids.shape[:-1], -1, 8)
    return jnp.sum(octets << np.arange(8, dtype=np.uint32), axis=-1).astype(jnp.uint8)


def unpack(packed: jax.Array, width: int, count: int) -> jax.Array:
    """Unpacks the integers that `pack` packed, int32 `[..., count]`."""
    _check_width(width)
    first_bit = np.arange(count) * width
    first, shift = first_bit // 8, (first_bit % 8).astype(np.uint32)
    ids = jnp.zeros((), jnp.uint32)
    for octet in range((width + 7 + 7) // 8):
        # Beyond the last byte there are only bits that the mask drops.
        position = np.minimum(first + octet, packed.shape[-1] - 1)
        ids = ids | (jnp.asarray(packed)[..., position].astype(jnp.uint32) << np.uint32(8 * octet))
    return ((ids >> shift) & np.uint32(2**width - 1)).astype(jnp.int32)


def _width(num_classes: int) -> int:
    return (num_classes - 1).bit_length()


def _check_width(width: int) -> None:
    if not 1 <= width <= _MOST_BITS:
        raise ValueError(f"ids of 1 to {_MOST_BITS} bits can be packed, not of {width}")
