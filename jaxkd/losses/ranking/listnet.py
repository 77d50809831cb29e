"""Cross entropy of a distribution over candidates with one that their relevances give."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import keep_rows, mask_logits, split_where
from jaxkd.losses._numerics import compute_dtype, soft_cross_entropy
from jaxkd.losses.ranking._candidates import as_relevance, as_scores, candidates_of


def listnet(
    student: ArrayLike,
    relevance: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the cross entropy of ListNet, of the student's scores with relevances.

    The target of a list is the softmax of its relevances, the probabilities that a candidate is
    ranked first; the student's are the softmax of its scores.

    Args:
      student: scores `[..., candidates]`. A candidate whose score is -inf takes no part.
      relevance: integers of the shape of the scores, the higher the more relevant, negative where a
        list holds no candidate.
      axis: axis of the candidates.
      where: boolean; with the rank of the scores a mask of candidates, with one rank less a mask of
        lists (0 where False).

    Returns:
      `[...]`, one loss a list in nats, float32 at least; 0 for a list without candidates. A list
      whose candidates are all as relevant as each other draws the scores together.

    Raises:
      ValueError: relevances that are no integers of the shape of the scores, lists of one place, a
        mask of another rank.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[2.0, 0.0, 5.0]])
      >>> print(f"{losses.listnet(student, jnp.array([[1, 0, -1]]))[0]:.3f}")
      0.665

    References:
      Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007.
    """
    student, axis = as_scores(student, axis)
    relevance = as_relevance(relevance, student.shape)
    classes, rows = split_where(
        candidates_of((student,), relevance, axis, where), student.shape, axis
    )
    dtype = compute_dtype(student)
    scores, targets = (
        mask_logits(jnp.moveaxis(values.astype(dtype), axis, -1), classes, rows)
        for values in (student, relevance)
    )
    loss = soft_cross_entropy(jax.nn.softmax(targets), jax.nn.log_softmax(scores))
    return keep_rows(loss, rows)
