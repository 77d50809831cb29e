"""The first step of every loss of lists: which places of a list hold a candidate."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import to_array
from jaxkd.losses._logit_pairs import check_axis, check_same_logits, dense, split_where


def as_scores(student: ArrayLike, axis: int) -> tuple[jax.Array, int]:
    """Returns the student's scores as an array, and the axis of the candidates from the front.

    Args:
      student: scores `[..., candidates]`.
      axis: axis of the candidates.

    Raises:
      TypeError: `SparseLogits` or `SampledClasses`.
      ValueError: an axis that the scores do not have, lists of one candidate.
    """
    student = dense("student", student, "only a teacher can be sparse")
    axis = check_axis(axis, student)
    if student.shape[axis] == 1:
        raise ValueError(
            f"scores of shape {student.shape} are lists of one candidate, which have no order: "
            "give the scores of all candidates of a query together, [batch, candidates], as by "
            "scores.reshape(batch, candidates) of pairs that were scored one by one"
        )
    return student, axis


def as_relevance(relevance: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """Returns relevances as integers.

    Args:
      relevance: integers or booleans.
      shape: shape of the scores.

    Raises:
      ValueError: another shape, numbers that are no integers.
    """
    relevance = to_array("relevance", relevance)
    if relevance.shape != shape:
        raise ValueError(
            f"relevance of shape {relevance.shape} must have the shape of the scores, {shape}: one "
            "number a candidate, 0 or above, and -1 where a list holds none"
        )
    if jnp.issubdtype(relevance.dtype, jnp.inexact):
        raise ValueError(
            f"relevance must be integers, above 0 for relevant candidates and -1 for none, not "
            f"{relevance.dtype}: write relevance.astype(jnp.int32)"
        )
    return relevance.astype(jnp.int32)


def candidates_of(
    scores: Sequence[jax.Array], relevance: ArrayLike | None, axis: int, where: ArrayLike | None
) -> jax.Array:
    """Returns the mask of the candidates that take part.

    Args:
      scores: dense scores of one side or both, of one shape.
      relevance: relevances of the shape of the scores, negative for no candidate, or None.
      axis: axis of the candidates, not negative.
      where: mask of candidates (the rank of the scores) or of lists (one rank less), or None.

    Returns:
      A boolean mask of the shape of the scores, False also where a score is -inf.

    Raises:
      ValueError: shapes, relevances or a mask that do not fit.
    """
    student, *others = scores
    for teacher in others:
        check_same_logits(student, teacher, axis)
    mask = functools.reduce(jnp.logical_and, (~jnp.isneginf(side) for side in scores))
    if relevance is not None:
        mask &= as_relevance(relevance, student.shape) >= 0
    candidates, lists = split_where(where, student.shape, axis)
    if candidates is not None:
        mask &= jnp.moveaxis(candidates, -1, axis)
    return mask if lists is None else mask & jnp.expand_dims(lists, axis)
