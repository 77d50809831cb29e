"""Squared differences of hidden states, one loss per token (TinyBERT)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses.language._tokens import paired_states


def hidden_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the mean of squared differences of each token's hidden states.

    It is for hidden states and embeddings of tokens; `feature_mse` returns one loss per example and
    does not leave out padding.

    Args:
      student: hidden states `[..., width]`, for instance `[batch, tokens, width]`, behind a
        connector where widths differ.
      teacher: hidden states of the same shape.
      where: boolean `[...]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token, `[...]`, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.zeros((1, 3, 8)), jnp.full((1, 3, 8), 2.0)
      >>> losses.hidden_mse(student, teacher, where=jnp.array([[True, True, False]]))
      Array([[4., 4., 0.]], dtype=float32)

    References:
      Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
      2020.
    """
    pair = paired_states(student, teacher, where)
    return pair.finish(jnp.mean(jnp.square(pair.student - pair.teacher), axis=-1))
