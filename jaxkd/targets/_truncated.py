"""Shared by top-k and top-p: some classes with their logits, and the exact mass of the others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses import SparseLogits
from jaxkd.targets._codec import Layout
from jaxkd.targets._packing import decode_ids, encode_ids, id_layout

_ERRORS = {
    "float32": "exactly",
    "float16": "to a relative error of 2^-11",
    "int8": "to 1/508 of the range that they span",
}
# 8-bit logits: steps from the largest kept logit, 0, to the smallest. Equal steps leave the least
# divergence among the powers tried at temperature 4, and at 1 within a third of the least: as the
# probability falls along the range, the number of classes grows.
_STEPS, _MASKED = 254, 255


def check_parameters(temperatures: Sequence[float], values: str) -> tuple[float, ...]:
    """Returns the temperatures as floats.

    Args:
      temperatures: temperatures at which the tail is exact.
      values: type of the stored logits.

    Raises:
      ValueError: no temperature, one that is not positive and finite, or values of another type.
    """
    if values not in _ERRORS:
        raise ValueError(f"values must be one of {', '.join(_ERRORS)}, not {values!r}")
    found = tuple(map(float, temperatures))
    if not found or not all(math.isfinite(t) and t > 0 for t in found):
        raise ValueError(f"temperatures must be positive numbers, not {found}")
    return found


def description(temperatures: tuple[float, ...], values: str) -> str:
    """Returns the second half of a codec's description."""
    return (
        f"their logits relative to the largest {_ERRORS[values]}; the mass of the others exactly, "
        f"at the temperatures {', '.join(f'{t:g}' for t in temperatures)} and no other"
    )


def layout(k: int, temperatures: tuple[float, ...], values: str, shape: tuple[int, ...]) -> Layout:
    """Returns the layout: ids, logits, for 8 bits their range, and a tail for each temperature."""
    rows, (length, dtype) = shape[:-1], id_layout(k, shape[-1])
    kept: Layout = {
        "indices": ((*rows, length), dtype),
        "values": ((*rows, k), "uint8" if values == "int8" else values),
        "tail": ((*rows, len(temperatures)), "float32"),
    }
    return kept | ({"range": (rows, "float32")} if values == "int8" else {})


def encode(
    logits: jax.Array, indices: jax.Array, temperatures: tuple[float, ...], values: str
) -> dict[str, jax.Array]:
    """Encodes logits.

    Args:
      logits: float32 `[..., num_classes]`.
      indices: int32 `[..., k]`, the classes to store; `num_classes` where there is none.
      temperatures: temperatures at which the mass of the others is stored.
      values: type of the stored logits.

    Returns:
      `indices` `[..., k]`, the arrays of the logits' values, and `tail` `[..., len(temperatures)]`.
    """
    num_classes = logits.shape[-1]
    empty = indices == num_classes
    ids = jnp.where(empty, 0, indices)
    largest = jnp.max(logits, axis=-1, keepdims=True)
    kept = jnp.take_along_axis(logits, ids, axis=-1) - largest
    kept = jnp.where(empty, -jnp.inf, kept)
    others = _without(logits, indices) - largest
    tails = [jax.nn.logsumexp(others / t, axis=-1) for t in temperatures]
    return {
        "indices": encode_ids(ids, num_classes),
        **_encode_values(kept, values),
        "tail": jnp.stack(tails, axis=-1),
    }


def decode(
    arrays: Mapping[str, Any],
    k: int,
    temperatures: tuple[float, ...],
    values: str,
    shape: tuple[int, ...],
) -> SparseLogits:
    """Returns `SparseLogits`, float32; empty positions have a logit of -inf."""
    return SparseLogits(
        indices=decode_ids(arrays["indices"], k, shape[-1]),
        logits=_decode_values(arrays, values),
        tail=jnp.asarray(arrays["tail"]),
        temperatures=temperatures,
        num_classes=shape[-1],
    )


def overflows(logits: jax.Array, k: int, values: str) -> jax.Array:
    """Returns the rows in which one of the k largest logits is too far below the largest."""
    if values != "float16":
        return jnp.zeros(logits.shape[:-1], bool)
    # Counted rather than looked up among the k largest: sorting is what an encoder's time goes to.
    logits = logits.astype(jnp.float32)
    near = logits >= jnp.max(logits, axis=-1, keepdims=True) - jnp.finfo(values).max
    finite = ~jnp.isneginf(logits)
    return jnp.sum(near & finite, axis=-1) < jnp.minimum(jnp.sum(finite, axis=-1), k)


def _encode_values(kept: jax.Array, values: str) -> dict[str, jax.Array]:
    if values != "int8":
        # Only a label's logit can overflow here: rows of which another one does are refused.
        floor = jnp.finfo(values).min.astype(jnp.float32)
        return {
            "values": jnp.where(jnp.isneginf(kept), kept, jnp.maximum(kept, floor)).astype(values)
        }
    masked = jnp.isneginf(kept)
    below = jnp.where(masked, 0, -kept)
    span = jnp.max(below, axis=-1)
    steps = jnp.round(below / jnp.where(span > 0, span, 1)[..., None] * _STEPS)
    codes = jnp.where(masked, _MASKED, jnp.clip(steps, 0, _STEPS))
    return {"values": codes.astype(jnp.uint8), "range": span}


def _decode_values(arrays: Mapping[str, Any], values: str) -> jax.Array:
    stored = jnp.asarray(arrays["values"]).astype(jnp.float32)
    if values != "int8":
        return stored
    kept = -stored / _STEPS * jnp.asarray(arrays["range"])[..., None]
    return jnp.where(stored == _MASKED, -jnp.inf, kept)


def _without(logits: jax.Array, indices: jax.Array) -> jax.Array:
    """Returns logits with -inf at some classes of each row; the index `num_classes` is none."""
    # Row by row, since scattering along an axis is not defined for explicitly sharded batches.
    drop = jnp.vectorize(
        lambda row, i: row.at[i].set(-jnp.inf, mode="drop"), signature="(v),(k)->(v)"
    )
    return drop(logits, indices)
