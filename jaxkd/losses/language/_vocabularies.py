"""Helpers of losses between models of different vocabularies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import Paired, dense, paired_tokens

_OWN_VOCABULARY = "its classes are compared by rank, which needs the probabilities of all of them"


def sorted_distance(q: jax.Array, p: jax.Array) -> jax.Array:
    """Computes the L1 distance of the sorted probabilities `[..., n]` and `[..., m]`."""
    size = max(q.shape[-1], p.shape[-1])

    def ascending(probs: jax.Array) -> jax.Array:
        # The derivative of a sort fails on a mesh of explicit axes, that of indexing does not.
        order = jnp.argsort(jax.lax.stop_gradient(probs), axis=-1)
        ranked = jnp.take_along_axis(probs, order, axis=-1)
        return jnp.pad(ranked, [(0, 0)] * (probs.ndim - 1) + [(size - probs.shape[-1], 0)])

    difference = ascending(p) - ascending(q)
    # The derivative of jnp.abs is 1 at 0, that of this product 0, as it must be between models
    # that agree.
    return jnp.sum(difference * jnp.sign(difference), axis=-1)


def paired_vocabularies(student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None) -> Paired:
    """Pairs both sides in one dtype, float32 at least, 0 in rows that do not count."""
    student = dense("student", student, _OWN_VOCABULARY)
    teacher = dense("teacher", teacher, _OWN_VOCABULARY)
    if not student.ndim == teacher.ndim >= 1 or student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f"student of shape {student.shape} and teacher of shape {teacher.shape} must agree in "
            "all axes but the last, the vocabulary: pair their tokens first, see align_by_bytes"
        )
    return paired_tokens(student, teacher, where)
