"""Encoding of a teacher's outputs: pure, run inside the teacher's compiled program."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache._contract import CacheError
from jaxkd.cache._record_format import RecordFormat

# Codecs that sample have PRNG keys of their own, independent of those of the views.
_SEED = 0x6A6B64


def encode(
    outputs: Mapping[str, jax.Array],
    record_format: RecordFormat,
    *,
    ids: jax.Array,
    view: jax.Array,
    labels: jax.Array | None = None,
    token_mask: jax.Array | None = None,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Encodes the outputs for a batch.

    Args:
      outputs: name → `[batch, ...]`. Logits beyond the last axis of their shape are padding of the
        vocabulary and are left out.
      record_format: codecs and shapes.
      ids: example ids `[batch]`.
      view: view numbers `[batch]`.
      labels: int `[batch]`, or one for each token, for codecs that need them.
      token_mask: bool `[batch, length]`, where the examples hold tokens; None for other inputs.
        Outputs at padding are not checked, and are stored as zeros.

    Returns:
      `<output>.<array>` → `[batch, ...]`, and output → bool `[batch]`, the rows that cannot be
      stored.
    """
    root = jax.random.key(_SEED, impl="threefry2x32")
    records, invalid = {}, {}
    for output, codec in record_format.codecs.items():
        values, shape = outputs[output], record_format.shapes[output]
        values = values[..., : shape[-1]] if shape else values
        # [batch, length, ...] with 3 axes is an output of tokens; attention maps have 4.
        if token_mask is not None and values.ndim == 3 and values.shape[:2] == token_mask.shape:
            values = jnp.where(token_mask[..., None], values, 0)
        needed: dict[str, Any] = {}
        if "labels" in codec.needs:
            needed["labels"] = labels
        if "keys" in codec.needs:
            # A function of id and view, so that a block which is computed again holds the same.
            needed["keys"] = jax.vmap(
                lambda i, v: jax.random.fold_in(jax.random.fold_in(root, i), v)
            )(jnp.asarray(ids), jnp.asarray(view))
        for name, array in codec.encode(values, **needed).items():
            records[f"{output}.{name}"] = array
        invalid[output] = codec.invalid_rows(values)
    return records, invalid


def check_invalid_rows(
    invalid: Mapping[str, np.ndarray], record_format: RecordFormat, ids: np.ndarray, view: int
) -> None:
    """Refuses outputs that a codec cannot store.

    Args:
      invalid: output → bool `[batch]`, as of `encode`.
      record_format: codecs, for the message.
      ids: example ids; further rows are filling of the batch.
      view: number of the view.

    Raises:
      CacheError: names codec, output, examples and view.
    """
    for output, rows in invalid.items():
        if (bad := np.flatnonzero(np.asarray(rows)[: len(ids)])).size:
            raise CacheError(
                f"{record_format.codecs[output]} cannot store the teacher's {output} of {bad.size} "
                f"examples, ids {ids[bad][:5].tolist()} first, in view {view}: they are not finite "
                "or overflow. Correct the teacher or choose a wider dtype."
            )
