"""From a teacher's outputs to records: pure, run inside the teacher's compiled program."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache._contract import CacheError
from jaxkd.targets import Codec

# Codecs that draw do so from keys of their own, not from those of the views.
_SEED = 0x6A6B64


def encode(
    outputs: Mapping[str, jax.Array],
    codecs: Mapping[str, Codec],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    ids: jax.Array,
    view: jax.Array,
    labels: jax.Array | None = None,
    present: jax.Array | None = None,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Encodes the answers to a batch.

    Args:
      outputs: name → `[batch, ...]`. Logits beyond the last axis of their shape are padding of the
        vocabulary and left out.
      codecs: output name → codec.
      shapes: output name → shape of one answer.
      ids: example ids `[batch]`.
      view: view numbers `[batch]`.
      labels: int `[batch]`, or one for each token, for codecs that want them.
      present: bool `[batch, length]`, where the examples hold tokens; None where they are something
        else. What a teacher says of padding is not looked at, and kept as zeros.

    Returns:
      `<output>.<array>` → `[batch, ...]`, and output → bool `[batch]`, the rows that were lost.
    """
    root = jax.random.key(_SEED, impl="threefry2x32")
    records, invalid = {}, {}
    for output, codec in codecs.items():
        values = outputs[output][..., : shapes[output][-1]] if shapes[output] else outputs[output]
        # What is [batch, length, ...] is of tokens; attention, of heads, has one axis more.
        if present is not None and values.ndim == 3 and values.shape[:2] == present.shape:
            values = jnp.where(present[..., None], values, 0)
        needed: dict[str, Any] = {}
        if "labels" in codec.needs:
            needed["labels"] = labels
        if "keys" in codec.needs:
            needed["keys"] = jax.vmap(
                lambda i, v: jax.random.fold_in(jax.random.fold_in(root, i), v)
            )(jnp.asarray(ids), jnp.asarray(view))
        for name, array in codec.encode(values, **needed).items():
            records[f"{output}.{name}"] = array
        invalid[output] = codec.invalid_rows(values)
    return records, invalid


def check_invalid_rows(
    invalid: Mapping[str, np.ndarray], codecs: Mapping[str, Codec], ids: np.ndarray, view: int
) -> None:
    """Refuses answers that a codec cannot keep.

    Raises:
      CacheError: naming codec, output, examples and view.
    """
    for output, rows in invalid.items():
        if (bad := np.flatnonzero(np.asarray(rows)[: len(ids)])).size:
            raise CacheError(
                f"{codecs[output]} cannot keep the teacher's {output} of {bad.size} examples, ids "
                f"{ids[bad][:5].tolist()} first, in view {view}: they are not finite or overflow. "
                "Mend the teacher or choose a wider dtype."
            )
