"""Divergence of the relations among tokens' queries, keys or values (MiniLM, MiniLMv2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import as_features
from jaxkd.losses._numerics import compute_dtype
from jaxkd.losses.language._tokens import mean_kl, selected_scores, tokens_and_pairs


def relation_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    relation_heads: int | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes `KL(p || q)` of the relations among tokens' vectors, averaged over relation heads.

    The relation of queries, keys or values `x` to themselves, `softmax(x xᵀ / sqrt(width))`, is
    `[tokens, tokens]`, whatever the widths of the two networks. With `relation_heads` the vectors
    of all heads are concatenated and split into that many heads, so that the networks' numbers of
    heads may differ as well.

    Args:
      student: vectors `[batch, heads, tokens, head_dim]`, with any number and width of heads.
      teacher: vectors with the same tokens, and any number and width of heads.
      relation_heads: number of relation heads, a divisor of both widths; None for the networks'
        heads, whose number must then be the same on both sides.
      where: boolean `[batch, tokens]`, the tokens that count; or `[batch, tokens, tokens]`, the
        tokens that count for each token (documents in one row, causal masks).

    Returns:
      One loss per token, `[batch, tokens]`, in nats, float32 at least; 0 for a token without
      relations.

    Raises:
      ValueError: shapes that do not fit, relation_heads that do not divide, a mask that does not
        fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax
      >>> from jaxkd import losses
      >>> student = jax.random.normal(jax.random.key(0), (2, 4, 5, 8))
      >>> teacher = jax.random.normal(jax.random.key(1), (2, 12, 5, 16))
      >>> losses.relation_kl(student, teacher, relation_heads=16).shape
      (2, 5)

    References:
      Wang et al., MiniLM, NeurIPS 2020 (relations of values); Wang et al., MiniLMv2: Multi-Head
      Self-Attention Relation Distillation for Compressing Pretrained Transformers, Findings of ACL
      2021 (of queries, keys and values, with relation heads).
    """
    student, teacher = as_features(student, teacher)
    both = f"student {student.shape} and teacher {teacher.shape}"
    if not student.ndim == teacher.ndim == 4:
        raise ValueError(f"vectors are [batch, heads, tokens, head_dim], got {both}")
    if student.shape[::2] != teacher.shape[::2]:
        raise ValueError(f"both sides need the same batch and the same tokens, got {both}")
    if relation_heads is None:
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f"the networks have {student.shape[1]} and {teacher.shape[1]} heads, got {both}: "
                "give relation_heads, a divisor of both widths"
            )
    else:
        student = _split_heads("student", student, relation_heads)
        teacher = _split_heads("teacher", teacher, relation_heads)
    dtype = compute_dtype(student, teacher)
    tokens = None
    if where is not None:
        rows, _ = tokens_and_pairs(where, (student.shape[0], *2 * student.shape[2:3]))
        tokens = rows[:, None, :, None]
    scores = []
    for vectors in (student.astype(dtype), teacher.astype(dtype)):
        if tokens is not None:
            # Masked before the product, which would spread a NaN to all tokens.
            vectors = jnp.where(tokens, vectors, 0)
        vectors = vectors / vectors.shape[-1] ** 0.25
        scores.append(jnp.einsum("bhqd,bhkd->bhqk", vectors, vectors))
    return mean_kl(selected_scores(scores[0], scores[1], None, where))


def _split_heads(side: str, vectors: jax.Array, relation_heads: int) -> jax.Array:
    """Splits vectors of all heads into relation heads: `[batch, relation_heads, tokens, width]`."""
    batch, heads, tokens, head_dim = vectors.shape
    if relation_heads < 1 or heads * head_dim % relation_heads:
        raise ValueError(
            f"the {side}'s {heads} heads of {head_dim} are {heads * head_dim} wide, which "
            f"relation_heads={relation_heads} does not divide: choose a divisor of both widths"
        )
    vectors = jnp.swapaxes(vectors, 1, 2).reshape(batch, tokens, relation_heads, -1)
    return jnp.swapaxes(vectors, 1, 2)
