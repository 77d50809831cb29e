"""Divergence of attention distributions."""

import jax
from jax.typing import ArrayLike

from jaxkd.losses.language._tokens import masked_scores, mean_kl


def attention_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """KL(p || q) of the attention of each token, the mean over heads.

    Args:
      student: scores before the softmax, `[batch, heads, tokens, tokens]`, queries before keys.
      teacher: of the same shape; where the numbers of heads differ see `relation_kl`.
      where: boolean `[batch, tokens]`, the tokens that count, as queries and as keys; or
        `[batch, tokens, tokens]`, which keys count for which query (documents in one row, causal
        masks).

    Returns:
      `[batch, tokens]`, one loss a query in nats, float32 at least; 0 for a query that attends to
      nothing.

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
