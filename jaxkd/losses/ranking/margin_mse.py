"""Differences between the scores of relevant and irrelevant candidates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import dense, paired_logits
from jaxkd.losses.ranking._candidates import as_relevance, as_scores, candidates_of


def margin_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    relevance: ArrayLike | None = None,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the mean squared error of the margins between relevant and irrelevant candidates.

    The margin of a pair is the difference of its scores, `s_positive - s_negative`; the loss is the
    mean over all pairs of the squared differences between the student's margins and the teacher's.
    A constant added to all scores of a list changes nothing: a student whose scores are cosines or
    dot products learns from a cross-encoder whose scores lie elsewhere. Scale matters.

    Args:
      student: scores `[..., candidates]`.
      teacher: scores `[..., candidates]`. A candidate whose score is -inf on either
        side takes no part.
      relevance: integers of the shape of the scores: above 0 for relevant candidates (the
        positives), 0 for the others (the negatives), negative where a list holds no candidate.
        None: the first candidate is the positive, the others are negatives.
      axis: axis of the candidates.
      where: boolean; with the rank of the scores a mask of candidates, with one rank less a mask of
        lists (0 where False).

    Returns:
      `[...]`, one loss a list, float32 at least; 0 for a list without a positive or a negative.

    Raises:
      ValueError: shapes that differ, lists of one place, relevances that are no integers of the
        shape of the scores, a mask of another rank.
      TypeError: `SparseLogits`, whose scores are not all known.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[2.0, 1.0, 0.0]]), jnp.array([[9.0, 6.0, 7.0]])
      >>> losses.margin_mse(student, teacher)
      Array([2.], dtype=float32)
      >>> losses.margin_mse(student, teacher, relevance=jnp.array([[0, 1, -1]]))
      Array([4.], dtype=float32)

    References:
      Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
      Distillation, 2020.
    """
    student, axis = as_scores(student, axis)
    teacher = dense("teacher", teacher, "margins need the scores of all candidates")
    where = candidates_of((student, teacher), relevance, axis, where)
    pair = paired_logits(student, teacher, 1.0, axis, where)
    if relevance is None:
        relevant = jnp.arange(pair.student.shape[-1]) == 0
    else:
        relevant = jnp.moveaxis(as_relevance(relevance, student.shape), axis, -1) > 0
    present = ~jnp.isneginf(pair.student)
    gap = jnp.where(present, pair.student, 0) - jnp.where(present, pair.teacher, 0)
    positives, negatives = present & relevant, present & ~relevant
    # The mean over all pairs in one pass over the candidates: of each side its spread, and the
    # distance of the two means.
    (mean, spread), (other_mean, other_spread) = (
        _moments(gap, group) for group in (positives, negatives)
    )
    loss = spread + other_spread + jnp.square(mean - other_mean)
    has_pairs = jnp.any(positives, axis=-1) & jnp.any(negatives, axis=-1)
    return pair.finish(jnp.where(has_pairs, loss, 0))


def _moments(values: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and variance of the selected values along the last axis; 0 where none is."""
    count = jnp.maximum(jnp.sum(where, axis=-1, dtype=values.dtype), 1)
    mean = jnp.sum(jnp.where(where, values, 0), axis=-1) / count
    centered = jnp.where(where, values - mean[..., None], 0)
    return mean, jnp.sum(jnp.square(centered), axis=-1) / count
