"""Squared differences of the tokens' attention scores (TinyBERT)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses.language._tokens import masked_scores


def attention_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the mean of squared differences of attention scores, over heads and keys.

    The scores are those before the softmax, as published. (The public code sets masked scores to 0
    and counts them in the mean, so that its loss shrinks with padding.)

    Args:
      student: scores `[batch, heads, tokens, tokens]`, queries before keys.
      teacher: scores of the same shape; where the numbers of heads differ, see `relation_kl`.
      where: boolean `[batch, tokens]`, the tokens that count, as queries and as keys; or
        `[batch, tokens, tokens]`, the keys that count for each query (documents in one row, causal
        masks).

    Returns:
      One loss per query, `[batch, tokens]`, float32 at least; 0 for a query without keys.

    Raises:
      ValueError: shapes that differ or are of another rank, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.zeros((1, 4, 3, 3)), jnp.full((1, 4, 3, 3), 2.0)
      >>> losses.attention_mse(student, teacher, where=jnp.array([[True, True, False]]))
      Array([[4., 4., 0.]], dtype=float32)

    References:
      Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
      2020.
    """
    scores = masked_scores(student, teacher, where)
    squares = jnp.sum(jnp.square(scores.student - scores.teacher), axis=-1, where=scores.pairs)
    count = jnp.sum(scores.pairs, axis=-1, dtype=squares.dtype)
    return keep_rows(jnp.mean(squares / jnp.maximum(count, 1), axis=1), scores.rows)
