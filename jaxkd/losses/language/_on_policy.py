"""Helpers of losses on tokens that the student has sampled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask
from jaxkd.losses._logit_pairs import dense
from jaxkd.losses._numerics import compute_dtype
from jaxkd.losses.cross_entropy import cross_entropy

_SAMPLED = "the probability of the sampled token itself is needed"


def per_token(
    where: ArrayLike | None, **named: ArrayLike
) -> tuple[tuple[jax.Array, ...], jax.Array | None]:
    """Returns arrays `[batch, tokens]` in one dtype, 0 where they do not count, and the mask."""
    arrays = {name: jnp.asarray(value) for name, value in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(
            f"{' and '.join(shapes)} must be [batch, tokens] of one shape, got {shapes}"
        )
    dtype = compute_dtype(*arrays.values())
    shape = next(iter(shapes.values()))
    values = tuple(array.astype(dtype) for array in arrays.values())
    if where is None:
        return values, None
    rows = jnp.broadcast_to(as_mask(where, shape, "the tokens, of shape"), shape)
    return tuple(jnp.where(rows, value, 0) for value in values), rows


def log_probs_of_sampled(
    student: ArrayLike, teacher: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the log-probabilities of sampled tokens under both networks, and where they count."""
    student, teacher = dense("student", student, _SAMPLED), dense("teacher", teacher, _SAMPLED)
    labels = jnp.asarray(labels)
    if student.shape != teacher.shape or student.ndim != 3:
        raise ValueError(
            f"logits are [batch, tokens, vocabulary] of one shape, got student {student.shape} and "
            f"teacher {teacher.shape}"
        )
    log_q = -cross_entropy(student, labels, where=where)
    log_p = -cross_entropy(jax.lax.stop_gradient(teacher), labels, where=where)
    sampled = labels >= 0
    if where is not None:
        sampled = sampled & jnp.asarray(where, bool)
    return log_q, log_p, sampled
