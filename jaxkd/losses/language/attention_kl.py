"""Divergence of the tokens' attention distributions (MiniLM)."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses.language._tokens import masked_scores, mean_kl


def attention_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes `KL(p || q)` of the attention of each token, averaged over heads.

    Args:
      student: scores before the softmax, `[batch, heads, tokens, tokens]`, queries before keys.
      teacher: scores of the same shape; where the numbers of heads differ, see `relation_kl`.
      where: boolean `[batch, tokens]`, the tokens that count, as queries and as keys; or
        `[batch, tokens, tokens]`, the keys that count for each query (documents in one row, causal
        masks).

    Returns:
      One loss per query, `[batch, tokens]`, in nats, float32 at least; 0 for a query without keys.

    Raises:
      ValueError: shapes that differ or are of another rank, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.zeros((1, 1, 2, 2)), jnp.array([[[[0.0, 0.0], [2.0, 0.0]]]])
      >>> [f"{loss:.3f}" for loss in losses.attention_kl(student, teacher)[0]]
      ['0.000', '0.328']

    References:
      Wang et al., MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
      Pre-Trained Transformers, NeurIPS 2020.
    """
    return mean_kl(masked_scores(student, teacher, where))
