"""The first step of losses on features: check, upcast, mask and detach the teacher."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, to_rank
from jaxkd.losses._logit_pairs import Paired, dense
from jaxkd.losses._numerics import compute_dtype
from jaxkd.ops._rows import gathered as gathered
from jaxkd.ops._rows import unit as unit

_NOT_LOGITS = "it represents a distribution over classes, not features"


def as_features(student: ArrayLike, teacher: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Returns both as arrays; raises TypeError for `SparseLogits` and `SampledClasses`."""
    return dense("student", student, _NOT_LOGITS), dense("teacher", teacher, _NOT_LOGITS)


def paired_features(
    student: ArrayLike,
    teacher: ArrayLike,
    where: ArrayLike | None,
    *,
    same_shape: bool = True,
    rank: int | None = None,
    learned_teacher: bool = False,
) -> Paired:
    """Pairs features `[batch, ...]` in one dtype, float32 at least; rows left out are 0.

    Args:
      student: `[batch, ...]`.
      teacher: `[batch, ...]`.
      where: boolean `[batch]`, or None.
      same_shape: whether the shapes must be equal; if not, only the batch sizes are compared.
      rank: rank that both must have; None for any from 2.
      learned_teacher: whether the teacher receives a gradient.

    Returns:
      The pair, of the shapes of the arguments.

    Raises:
      TypeError: `SparseLogits`.
      ValueError: shapes or a mask that do not fit.
    """
    student, teacher = as_features(student, teacher)
    if same_shape and student.shape != teacher.shape:
        raise ValueError(
            f"student features have shape {student.shape}, teacher features {teacher.shape}: put a "
            "connector on the student that maps its features to the teacher's shape"
        )
    if student.shape[:1] != teacher.shape[:1]:
        raise ValueError(
            f"student features of shape {student.shape} and teacher features of shape "
            f"{teacher.shape} have different batch sizes"
        )
    if rank is None:
        if min(student.ndim, teacher.ndim) < 2:
            raise ValueError(
                f"features are [batch, ...] with a feature axis, got {student.shape} and "
                f"{teacher.shape}"
            )
    elif (student.ndim, teacher.ndim) != (rank, rank):
        expected = {2: "[batch, width]", 4: "[batch, height, width, channels]"}.get(rank, rank)
        raise ValueError(
            f"features must be {expected}, got student {student.shape} and teacher {teacher.shape}"
        )
    dtype = compute_dtype(student, teacher)
    student, teacher = student.astype(dtype), teacher.astype(dtype)
    if not learned_teacher:
        teacher = jax.lax.stop_gradient(teacher)
    if where is None:
        return Paired(student, teacher)
    rows = batch_mask(where, student.shape)
    return Paired(mask_rows(student, rows), mask_rows(teacher, rows), rows)


def batch_mask(where: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """Returns a mask of examples as booleans.

    Args:
      where: mask `[batch]`.
      shape: shape of the features.

    Returns:
      `[batch]`.

    Raises:
      ValueError: a mask that does not fit the features, or of floating point.
    """
    if jnp.ndim(where) != 1:
        raise ValueError(
            f"where must be a mask of examples [batch], got shape {jnp.shape(where)} for features "
            f"of shape {shape}"
        )
    return jnp.broadcast_to(as_mask(where, shape[:1], "the batch"), shape[:1])


def mask_rows(values: jax.Array, rows: jax.Array | None) -> jax.Array:
    """Returns values `[batch, ...]`, 0 in the rows that take no part, whatever stood there."""
    if rows is None:
        return values
    return jnp.where(to_rank(rows, values.ndim), values, 0)


def flat(features: jax.Array) -> jax.Array:
    """Flattens features `[batch, ...]` to vectors `[batch, width]`."""
    return features.reshape(features.shape[0], -1)
