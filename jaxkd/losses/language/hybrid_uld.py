"""Distillation between vocabularies that share some of their tokens (GOLD)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight, concrete_value
from jaxkd.losses._numerics import kl_to_mixture
from jaxkd.losses.language._vocabularies import paired_vocabularies, sorted_distance

# The lower bound of probabilities in the matched part of `hybrid_uld`, as published.
_LEAST = 1e-8


def hybrid_uld(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    student_ids: ArrayLike,
    teacher_ids: ArrayLike,
    beta: ArrayLike = 0.5,
    matched_weight: ArrayLike | None = None,
    unmatched_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes Jensen-Shannon divergence on shared tokens and sorted L1 distance on the others.

    The divergence is the formula of `js_divergence` on the matched probabilities, not normalized
    and at least 1e-8. At beta 0 and 1 it is half of a Kullback-Leibler divergence of measures that
    do not sum to 1, whose gradient is not 0 at student = teacher: prefer a beta between. Where one
    side has no unmatched token, the sorted part is 0.

    Args:
      student: log-probabilities `[..., student_vocabulary]`, from `chunk_log_probs` or a
        log-softmax.
      teacher: log-probabilities `[..., teacher_vocabulary]`.
      student_ids: integers `[matched]`, concrete: the student's ids of the shared tokens, distinct.
      teacher_ids: integers `[matched]`, concrete: the teacher's ids of the same tokens, in the same
        order.
      beta: teacher's share of the mixture, in [0, 1]; a traced one must lie strictly inside.
      matched_weight: weight of the divergence; None for the share of the teacher's vocabulary that
        is matched.
      unmatched_weight: weight of the sorted L1 distance; None for 1 minus that share.
      where: boolean `[...]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token or chunk, `[...]`, float32 at least.

    Raises:
      ValueError: leading axes that differ, a mask that does not fit, ids that are traced, repeated,
        out of range or of different numbers on both sides, one weight without the other, a beta
        outside [0, 1].
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
      >>> teacher = jnp.log(jnp.array([[0.4, 0.5, 0.1]]))
      >>> loss = losses.hybrid_uld(
      ...     student, teacher, student_ids=jnp.array([0]), teacher_ids=jnp.array([1])
      ... )
      >>> print(f"{loss[0]:.3f}")
      0.133

    References:
      Patino et al., Unlocking On-Policy Distillation for Any Model Family (GOLD), 2025; followed as
      TRL implements it.
    """
    pair = paired_vocabularies(student, teacher, where)
    check_weight("beta", beta, below_one=False)
    if (matched_weight is None) != (unmatched_weight is None):
        raise ValueError(
            f"matched_weight and unmatched_weight must be given together, got {matched_weight} and "
            f"{unmatched_weight}"
        )
    vocabularies = pair.student.shape[-1], pair.teacher.shape[-1]
    shared = (
        _ids("student_ids", student_ids, vocabularies[0]),
        _ids("teacher_ids", teacher_ids, vocabularies[1]),
    )
    if shared[0].shape != shared[1].shape:
        raise ValueError(
            f"student_ids and teacher_ids must have the same length, got {len(shared[0])} and "
            f"{len(shared[1])}"
        )
    others = [np.setdiff1d(np.arange(n), ids) for n, ids in zip(vocabularies, shared, strict=True)]
    if matched_weight is None:
        matched_weight = len(shared[1]) / vocabularies[1]
        unmatched_weight = 1 - matched_weight

    # Unsigned, so that JAX uses the indices unchanged, whatever the default width of integers.
    log_q, log_p = (
        jnp.maximum(log_probs[..., ids.astype(np.uint32)], math.log(_LEAST))
        for log_probs, ids in zip(pair[:2], shared, strict=True)
    )
    matched = _js_of_measures(log_q, log_p, beta)
    unmatched = jnp.zeros_like(matched)
    if all(len(ids) for ids in others):
        remaining = (x[..., ids.astype(np.uint32)] for x, ids in zip(pair[:2], others, strict=True))
        unmatched = sorted_distance(*(jnp.exp(log_probs) for log_probs in remaining))
    return pair.finish(
        jnp.asarray(matched_weight, matched.dtype) * matched
        + jnp.asarray(unmatched_weight, matched.dtype) * unmatched
    )


def _js_of_measures(log_q: jax.Array, log_p: jax.Array, beta: ArrayLike) -> jax.Array:
    """Computes the Jensen-Shannon divergence of measures that need not sum to 1."""
    if (end := concrete_value(beta)) == 0:
        return kl_to_mixture(log_p, log_q, 0.0)
    if end == 1:
        return kl_to_mixture(log_q, log_p, 0.0)
    beta = jnp.asarray(beta, log_q.dtype)
    of_teacher = kl_to_mixture(log_p, log_q, beta)
    return beta * of_teacher + (1 - beta) * kl_to_mixture(log_q, log_p, 1 - beta)


def _ids(name: str, ids: ArrayLike, vocabulary: int) -> np.ndarray:
    """Returns the ids as an array; raises ValueError unless they are concrete and distinct."""
    if isinstance(ids, jax.core.Tracer):
        raise ValueError(f"{name} must be known when the program is compiled: close over them")
    ids = np.asarray(ids)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or len(ids) == 0:
        raise ValueError(
            f"{name} must be integers [matched], at least one, got {ids.dtype} of shape {ids.shape}"
        )
    if len(np.unique(ids)) < len(ids) or ids.min() < 0 or ids.max() >= vocabulary:
        raise ValueError(f"{name} must be distinct and in [0, {vocabulary}), got {ids.tolist()}")
    return ids
