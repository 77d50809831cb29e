"""Helpers of losses on tokens: hidden states, attention scores and masks of pairs of tokens.

A token that does not count is neither compared nor attended to: the content and the amount of
padding change nothing. Scores of -inf, or below -5,000, are those that a network has masked
already; pairs that either side masks do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask
from jaxkd.losses._feature_pairs import as_features
from jaxkd.losses._logit_pairs import Paired, keep_rows, paired_tokens
from jaxkd.losses._numerics import compute_dtype, kl_to_mixture

# Networks mask with -inf, with the least number of a dtype, or by adding -10,000.
_MASKED = -5e3


class MaskedScores(NamedTuple):
    """Attention scores of both sides, 0 in pairs that do not count.

    Attributes:
      student: scores `[batch, heads, queries, keys]`, float32 at least.
      teacher: scores of the same shape and dtype, without gradient.
      pairs: boolean `[batch, heads, queries, keys]`, the pairs that count.
      rows: boolean `[batch, queries]`, the queries that count.
    """

    student: jax.Array
    teacher: jax.Array
    pairs: jax.Array
    rows: jax.Array


def mean_kl(scores: MaskedScores) -> jax.Array:
    """Computes `KL(p || q)` of each query's attention, averaged over heads: `[batch, queries]`."""
    # A query without any key would be a softmax over nothing.
    has_keys = jnp.any(scores.pairs, axis=-1, keepdims=True)
    log_q, log_p = (
        jax.nn.log_softmax(jnp.where(scores.pairs | ~has_keys, side, -jnp.inf))
        for side in (scores.student, scores.teacher)
    )
    divergence = keep_rows(kl_to_mixture(log_p, log_q, 0.0), has_keys[..., 0])
    return keep_rows(jnp.mean(divergence, axis=1), scores.rows)


def masked_scores(student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None) -> MaskedScores:
    """Pairs the scores of two networks, which may have masked some of them."""
    student, teacher = as_features(student, teacher)
    if student.shape != teacher.shape or student.ndim != 4 or student.shape[2] != student.shape[3]:
        raise ValueError(
            f"attention scores are [batch, heads, tokens, tokens] of one shape, got student "
            f"{student.shape} and teacher {teacher.shape}: where the numbers of heads differ use "
            "relation_kl of queries, keys or values"
        )
    dtype = compute_dtype(student, teacher)
    student, teacher = student.astype(dtype), teacher.astype(dtype)
    # A NaN does not count as masked: it is an error and must show.
    unmasked = ~((student < _MASKED) | (teacher < _MASKED))
    return selected_scores(student, teacher, unmasked, where)


def selected_scores(
    student: jax.Array,
    teacher: jax.Array,
    pairs: jax.Array | None,
    where: ArrayLike | None,
) -> MaskedScores:
    """Sets scores to 0 in pairs that the networks (`pairs`) or the loss (`where`) leave out."""
    shape = student.shape[:1] + student.shape[2:]
    rows = jnp.ones(shape[:2], bool)
    if pairs is None:
        pairs = jnp.ones(student.shape, bool)
    if where is not None:
        rows, selected = tokens_and_pairs(where, shape)
        pairs = pairs & selected[:, None]
    teacher = jax.lax.stop_gradient(teacher)
    student, teacher = (jnp.where(pairs, side, 0) for side in (student, teacher))
    return MaskedScores(student, teacher, pairs, rows)


def tokens_and_pairs(where: ArrayLike, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Returns the tokens `[batch, tokens]` and the pairs `[batch, tokens, tokens]` that count."""
    if jnp.ndim(where) == 3:
        pairs = jnp.broadcast_to(as_mask(where, shape, "the pairs of tokens, of shape"), shape)
        return jnp.any(pairs, axis=-1) | jnp.any(pairs, axis=-2), pairs
    tokens = as_mask(where, shape[:2], "the tokens, of shape")
    tokens = jnp.broadcast_to(tokens, shape[:2])
    return tokens, tokens[:, :, None] & tokens[:, None, :]


def paired_states(student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None) -> Paired:
    """Pairs states `[..., width]` in float32 at least, with 0 for tokens that do not count."""
    student, teacher = as_features(student, teacher)
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            f"hidden states are [..., tokens, width] of one shape, got student {student.shape} and "
            f"teacher {teacher.shape}: put a connector on the student where the widths differ"
        )
    return paired_tokens(student, teacher, where)
