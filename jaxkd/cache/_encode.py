"""Encoding of a teacher's outputs: pure, run inside the teacher's compiled program."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.cache._contract import CacheError
from jaxkd.cache._record_format import RecordFormat
from jaxkd.cache._sketch import sketch

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
        values = stored_values(outputs, output, record_format, token_mask)
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


def stored_values(
    outputs: Mapping[str, jax.Array],
    output: str,
    record_format: RecordFormat,
    token_mask: jax.Array | None,
) -> jax.Array:
    """Returns one of the outputs as it is stored: without padding of classes or tokens.

    Args:
      outputs: name → `[batch, ...]`.
      output: name of the one.
      record_format: codecs and shapes.
      token_mask: bool `[batch, length]`, where the examples hold tokens; None for other inputs.
    """
    values, shape = outputs[output], record_format.shapes[output]
    values = values[..., : shape[-1]] if shape else values
    # [batch, length, ...] with 3 axes is an output of tokens; attention maps have 4.
    if token_mask is not None and values.ndim == 3 and values.shape[:2] == token_mask.shape:
        values = jnp.where(token_mask[..., None], values, 0)
    return values


def encode_batch(
    outputs: Mapping[str, jax.Array],
    batch: Mapping[str, Any],
    token_mask: jax.Array | None,
    *,
    record_format: RecordFormat,
    records: bool = True,
) -> tuple[Any, Any, Any]:
    """Encodes and sketches the outputs for a raw batch.

    Args:
      outputs: name → `[batch, ...]`.
      batch: its `"id"`, `"view"` and `"labels"`.
      token_mask: as of `encode`.
      record_format: codecs and shapes.
      records: whether to encode; False: sketches alone.

    Returns:
      What `encode` returns, both None without records, and what `encode_sketches` returns.
    """
    sketches = encode_sketches(outputs, record_format, token_mask)
    if not records:
        return None, None, sketches
    numbers = {"ids": batch["id"], "view": batch["view"], "labels": batch["labels"]}
    return *encode(outputs, record_format, token_mask=token_mask, **numbers), sketches


def encode_sketches(
    outputs: Mapping[str, jax.Array],
    record_format: RecordFormat,
    token_mask: jax.Array | None = None,
) -> dict[str, Any]:
    """Sketches the outputs that are stored for a batch, and looks at what kind of logits they are.

    Args:
      outputs: name → `[batch, ...]`.
      record_format: codecs and shapes.
      token_mask: as of `encode`.

    Returns:
      `"outputs"`: name → float32 `[batch, n]`; `"probabilities"`: bool `[batch]`, the examples
      whose logits are probabilities.
    """
    values = {
        name: stored_values(outputs, name, record_format, token_mask)
        for name in record_format.codecs
    }
    logits = values.get("logits")
    if logits is None or logits.shape[-1] < 2:
        found = jnp.zeros(len(next(iter(values.values()))), bool)
    else:
        found = _are_probabilities(logits)
    return {
        "outputs": {name: sketch(value) for name, value in values.items()},
        "probabilities": found,
    }


def _are_probabilities(logits: jax.Array) -> jax.Array:
    rows = logits.astype(jnp.float32).reshape(len(logits), -1, logits.shape[-1])
    rounding = 1e-3 if logits.dtype.itemsize >= 4 else 2e-2
    add_up = (rows >= 0).all(-1) & (jnp.abs(rows.sum(-1) - 1) < rounding)
    padding = (rows == 0).all(-1)
    return (add_up | padding).all(-1) & add_up.any(-1)


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
