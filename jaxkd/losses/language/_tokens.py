"""Helpers of losses on tokens: hidden states, attention scores and masks of pairs of tokens.

A token that does not count is neither compared nor attended to: what stands in padding, and how
much of it there is, changes nothing. Scores of -inf, or below -5,000, are those that a network has
masked already; the pairs that either side masks take no part.
"""

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
    """Scores `[batch, heads, queries, keys]`, 0 in the pairs that take no part.

    Attributes:
      student: float32 at least.
      teacher: likewise, without gradient unless it was asked for.
      pairs: which pairs take part, `[batch, heads, queries, keys]`.
      rows: which queries do, `[batch, queries]`.
    """

    student: jax.Array
    teacher: jax.Array
    pairs: jax.Array
    rows: jax.Array


def mean_kl(scores: MaskedScores) -> jax.Array:
    # A query without any key would be a softmax over nothing.
    some = jnp.any(scores.pairs, axis=-1, keepdims=True)
    log_q, log_p = (
        jax.nn.log_softmax(jnp.where(scores.pairs | ~some, side, -jnp.inf))
        for side in (scores.student, scores.teacher)
    )
    divergence = keep_rows(kl_to_mixture(log_p, log_q, 0.0), some[..., 0])
    return keep_rows(jnp.mean(divergence, axis=1), scores.rows)


def masked_scores(student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None) -> MaskedScores:
    """Scores of two networks, which may have masked some of them."""
    student, teacher = as_features(student, teacher)
    if student.shape != teacher.shape or student.ndim != 4 or student.shape[2] != student.shape[3]:
        raise ValueError(
            f"attention scores are [batch, heads, tokens, tokens] of one shape, got student "
            f"{student.shape} and teacher {teacher.shape}: where the numbers of heads differ use "
            "relation_kl of queries, keys or values"
        )
    dtype = compute_dtype(student, teacher)
    student, teacher = student.astype(dtype), teacher.astype(dtype)
    # A NaN is not masked: it is an error to be seen.
    open_pairs = ~((student < _MASKED) | (teacher < _MASKED))
    return selected_scores(student, teacher, open_pairs, where)


def selected_scores(
    student: jax.Array,
    teacher: jax.Array,
    pairs: jax.Array | None,
    where: ArrayLike | None,
) -> MaskedScores:
    shape = student.shape[:1] + student.shape[2:]
    rows = jnp.ones(shape[:2], bool)
    if pairs is None:
        pairs = jnp.ones(student.shape, bool)
    if where is not None:
        rows, counted = tokens_and_pairs(where, shape)
        pairs = pairs & counted[:, None]
    teacher = jax.lax.stop_gradient(teacher)
    student, teacher = (jnp.where(pairs, side, 0) for side in (student, teacher))
    return MaskedScores(student, teacher, pairs, rows)


def tokens_and_pairs(where: ArrayLike, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Which tokens count, `[batch, tokens]`, and which pairs, `[batch, tokens, tokens]`."""
    if jnp.ndim(where) == 3:
        pairs = jnp.broadcast_to(as_mask(where, shape, "the pairs of tokens, of shape"), shape)
        return jnp.any(pairs, axis=-1) | jnp.any(pairs, axis=-2), pairs
    tokens = as_mask(where, shape[:2], "the tokens, of shape")
    tokens = jnp.broadcast_to(tokens, shape[:2])
    return tokens, tokens[:, :, None] & tokens[:, None, :]


def paired_states(student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None) -> Paired:
    """States `[..., width]` in one dtype, float32 at least, 0 for tokens that take no part."""
    student, teacher = as_features(student, teacher)
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            f"hidden states are [..., tokens, width] of one shape, got student {student.shape} and "
            f"teacher {teacher.shape}: put a connector on the student where the widths differ"
        )
    return paired_tokens(student, teacher, where)
