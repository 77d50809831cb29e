"""Distributions over the candidates of a list, teacher's and student's."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import dense
from jaxkd.losses._sparse_logits import SparseLogits
from jaxkd.losses.logits.kd import kd
from jaxkd.losses.ranking._candidates import as_scores, candidates_of


def listwise_kl(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    relevance: ArrayLike | None = None,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes `temperature**2 * KL(p || q)` of distributions over the candidates of a list.

    p is the softmax of the teacher's scores over the candidates and q that of the student's: the
    probabilities that a candidate is ranked first. A constant added to all scores of a list changes
    nothing. Up to the entropy of p, a constant, it is the cross entropy of ListNet with the
    teacher's scores as relevances.

    Args:
      student: scores `[..., candidates]`.
      teacher: scores `[..., candidates]`, or `SparseLogits` of them `[..., k]`. A candidate whose
        score is -inf on either side takes no part.
      relevance: integers of the shape of the scores, negative where a list holds no candidate: the
        softmaxes are taken over the others; None if all places hold one. Their sizes do not enter.
      temperature: positive scalar that divides both scores; may be traced.
      axis: axis of the candidates.
      where: boolean; with the rank of the scores a mask of candidates, with one rank less a mask of
        lists (0 where False).

    Returns:
      `[...]`, one loss a list, float32 at least; 0 for a list without candidates, or with one.

    Raises:
      ValueError: shapes that differ, lists of one place, relevances that are no integers of the
        shape of the scores, a mask of another rank, a temperature that is not positive and finite.
      TypeError: a `SparseLogits` student, or such a teacher beside relevances.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[1.0, 0.0, 5.0]]), jnp.array([[3.0, 0.0, 0.0]])
      >>> print(f"{losses.listwise_kl(student, teacher, relevance=jnp.array([[1, 0, -1]]))[0]:.3f}")
      0.170

    References:
      Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007 (the
      distributions); Ren et al., RocketQAv2: A Joint Training Method for Dense Passage Retrieval
      and Passage Re-ranking, EMNLP 2021 (from teacher to student).
    """
    student, axis = as_scores(student, axis)
    if isinstance(teacher, SparseLogits) and relevance is None:
        return kd(student, teacher, temperature=temperature, axis=axis, where=where)
    teacher = dense(
        "teacher",
        teacher,
        "the candidates in its tail can no longer be separated, so that relevances cannot leave "
        "any of them out: store dense scores, or leave relevance out",
    )
    where = candidates_of((student, teacher), relevance, axis, where)
    return kd(student, teacher, temperature=temperature, axis=axis, where=where)
