"""How tokens attend to tokens: scores before the softmax, and relations of their vectors.

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
from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses._numerics import compute_dtype, kl_to_mixture

# Networks mask with -inf, with the least number of a dtype, or by adding -10,000.
_MASKED = -5e3


def attention_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """The mean of squared differences of attention scores, over heads and the tokens attended to.

    Of scores before the softmax, as published. (The public code sets masked scores to 0 and counts
    them in the mean, so that its loss shrinks with padding.)

    Args:
      student: scores `[batch, heads, tokens, tokens]`, queries before keys.
      teacher: of the same shape; where the numbers of heads differ see `relation_kl`.
      where: boolean `[batch, tokens]`, the tokens that count, as queries and as keys; or `[batch,
        tokens, tokens]`, which keys count for which query (documents in one row, causal masks).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch, tokens]`, one loss a query, float32 at least; 0 for a query that attends to nothing.

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
    scores = _masked_scores(student, teacher, where, teacher_gradient)
    squares = jnp.sum(jnp.square(scores.student - scores.teacher), axis=-1, where=scores.pairs)
    count = jnp.sum(scores.pairs, axis=-1, dtype=squares.dtype)
    return keep_rows(jnp.mean(squares / jnp.maximum(count, 1), axis=1), scores.rows)


def attention_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """KL(p || q) of the attention of each token, the mean over heads.

    Args:
      student: scores before the softmax, `[batch, heads, tokens, tokens]`, queries before keys.
      teacher: of the same shape; where the numbers of heads differ see `relation_kl`.
      where: boolean `[batch, tokens]`, the tokens that count, as queries and as keys; or `[batch,
        tokens, tokens]`, which keys count for which query (documents in one row, causal masks).
      teacher_gradient: whether the gradient flows to the teacher.

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
    return _mean_kl(_masked_scores(student, teacher, where, teacher_gradient))


def relation_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    relation_heads: int | None = None,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """KL(p || q) of the relations among the tokens' vectors, the mean over relation heads.

    The relation of queries, keys or values `x` to themselves, `softmax(x xᵀ / sqrt(width))`, is as
    large as there are tokens, whatever the widths of the two networks. With `relation_heads` the
    vectors of all heads are joined and cut anew into so many, so that the networks' own numbers of
    heads may differ as well.

    Args:
      student: vectors `[batch, heads, tokens, head_dim]`, of any number and width of heads.
      teacher: likewise, of as many tokens.
      relation_heads: into how many the joined vectors are cut, a divisor of both widths; None
        leaves the heads as they are, which must then be as many on both sides.
      where: boolean `[batch, tokens]`, the tokens that count; or `[batch, tokens, tokens]`, which
        tokens count for which (documents in one row, causal masks).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch, tokens]`, one loss a token in nats, float32 at least; 0 for a token that is related
      to nothing.

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
        student = _recut("student", student, relation_heads)
        teacher = _recut("teacher", teacher, relation_heads)
    dtype = compute_dtype(student, teacher)
    tokens = None
    if where is not None:
        rows, _ = _tokens_and_pairs(where, (student.shape[0], *2 * student.shape[2:3]))
        tokens = rows[:, None, :, None]
    scores = []
    for vectors in (student.astype(dtype), teacher.astype(dtype)):
        if tokens is not None:  # Masked before the product, which would carry a NaN everywhere.
            vectors = jnp.where(tokens, vectors, 0)
        vectors = vectors / vectors.shape[-1] ** 0.25
        scores.append(jnp.einsum("bhqd,bhkd->bhqk", vectors, vectors))
    return _mean_kl(_scores(scores[0], scores[1], None, where, teacher_gradient))


class _Scores(NamedTuple):
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


def _mean_kl(scores: _Scores) -> jax.Array:
    # A query without any key would be a softmax over nothing.
    some = jnp.any(scores.pairs, axis=-1, keepdims=True)
    log_q, log_p = (
        jax.nn.log_softmax(jnp.where(scores.pairs | ~some, side, -jnp.inf))
        for side in (scores.student, scores.teacher)
    )
    divergence = keep_rows(kl_to_mixture(log_p, log_q, 0.0), some[..., 0])
    return keep_rows(jnp.mean(divergence, axis=1), scores.rows)


def _masked_scores(
    student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None, teacher_gradient: bool
) -> _Scores:
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
    return _scores(student, teacher, open_pairs, where, teacher_gradient)


def _scores(
    student: jax.Array,
    teacher: jax.Array,
    pairs: jax.Array | None,
    where: ArrayLike | None,
    teacher_gradient: bool,
) -> _Scores:
    shape = student.shape[:1] + student.shape[2:]
    rows = jnp.ones(shape[:2], bool)
    if pairs is None:
        pairs = jnp.ones(student.shape, bool)
    if where is not None:
        rows, counted = _tokens_and_pairs(where, shape)
        pairs = pairs & counted[:, None]
    if not teacher_gradient:
        teacher = jax.lax.stop_gradient(teacher)
    student, teacher = (jnp.where(pairs, side, 0) for side in (student, teacher))
    return _Scores(student, teacher, pairs, rows)


def _tokens_and_pairs(where: ArrayLike, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Which tokens count, `[batch, tokens]`, and which pairs, `[batch, tokens, tokens]`."""
    if jnp.ndim(where) == 3:
        pairs = jnp.broadcast_to(as_mask(where, shape, "the pairs of tokens, of shape"), shape)
        return jnp.any(pairs, axis=-1) | jnp.any(pairs, axis=-2), pairs
    tokens = as_mask(where, shape[:2], "the tokens, of shape")
    tokens = jnp.broadcast_to(tokens, shape[:2])
    return tokens, tokens[:, :, None] & tokens[:, None, :]


def _recut(side: str, vectors: jax.Array, relation_heads: int) -> jax.Array:
    """`[batch, heads, tokens, head_dim]` as `[batch, relation_heads, tokens, width]`."""
    batch, heads, tokens, head_dim = vectors.shape
    if relation_heads < 1 or heads * head_dim % relation_heads:
        raise ValueError(
            f"the {side}'s {heads} heads of {head_dim} are {heads * head_dim} wide, which "
            f"relation_heads={relation_heads} does not divide: choose a divisor of both widths"
        )
    joined = jnp.swapaxes(vectors, 1, 2).reshape(batch, tokens, relation_heads, -1)
    return jnp.swapaxes(joined, 1, 2)
