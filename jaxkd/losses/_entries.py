"""The first step of losses with one number for each entry: each output by itself, no class axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, to_rank
from jaxkd.losses._logit_pairs import Paired, dense
from jaxkd.losses._numerics import compute_dtype

_NOT_ENTRIES = (
    "it holds the k largest of the classes that exclude each other, and here every entry has a "
    "target of its own; store dense outputs"
)


def paired_entries(
    student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None, *, what: str
) -> Paired:
    """Pairs two arrays entry by entry, float32 at least; 0 on both sides where they do not count.

    Args:
      student: `[...]`.
      teacher: of the same shape; a constant.
      where: mask of the entries, or of the first axes alone; None for all.
      what: what the arrays are, for error messages.

    Returns:
      The pair; its rows are those entries that count, of the shape of the student.

    Raises:
      TypeError: `SparseLogits` or `SampledClasses`, complex numbers.
      ValueError: shapes that differ, a mask that does not fit.
    """
    student = dense("student", student, _NOT_ENTRIES)
    teacher = dense("teacher", teacher, _NOT_ENTRIES)
    if student.shape != teacher.shape:
        raise ValueError(
            f"student {what} of shape {student.shape} and teacher {what} of shape {teacher.shape} "
            "must have the same shape"
        )
    dtype = compute_dtype(student, teacher)
    teacher = jax.lax.stop_gradient(teacher.astype(dtype))
    return _masked(student.astype(dtype), teacher, entry_mask(where, student.shape))


def labeled_entries(
    student: jax.Array, labels: jax.Array, where: jax.Array | None, *, wanted: str
) -> Paired:
    """Pairs outputs with labels entry by entry; 0 on both sides where they do not count.

    Args:
      student: `[...]`.
      labels: of the same shape, or of `[...]` for outputs `[..., 1]`; constants.
      where: entries that count, of the shape of the student; None for all.
      wanted: what labels must be, for the error message.

    Returns:
      The pair, the labels in place of a teacher, in the dtype and the shape of the student.

    Raises:
      ValueError: labels of another shape.
    """
    labels = like_entries(student, labels, wanted=wanted)
    dtype = compute_dtype(student)
    labels = jax.lax.stop_gradient(labels.astype(dtype))
    return _masked(student.astype(dtype), labels, where)


def like_entries(student: jax.Array, labels: jax.Array, *, wanted: str) -> jax.Array:
    """Returns labels in the shape of the outputs, of which one may stand in an axis of its own."""
    single = student.shape[-1:] == (1,) and labels.shape == student.shape[:-1]
    if labels.shape != student.shape and not single:
        raise ValueError(
            f"outputs of shape {student.shape} need {wanted} of the same shape, got "
            f"{labels.dtype} labels of shape {labels.shape}"
        )
    return labels.reshape(student.shape)


def entry_mask(where: ArrayLike | None, shape: tuple[int, ...]) -> jax.Array | None:
    """Returns the entries that count.

    Args:
      where: mask of the rank of the entries, or of their first axes (of examples, or pixels).
      shape: shape of the entries.

    Returns:
      A boolean array of that shape; None for all.

    Raises:
      ValueError: a mask that does not fit, or of floating point.
    """
    if where is None:
        return None
    rank = jnp.ndim(where)
    if rank == 0 or rank > len(shape):
        raise ValueError(
            f"where must be a mask of the entries {shape} or of their first axes, got shape "
            f"{jnp.shape(where)}"
        )
    what = "the entries, of shape" if rank == len(shape) else "the examples, of shape"
    mask = as_mask(where, shape[:rank], what)
    return jnp.broadcast_to(to_rank(mask, len(shape)), shape)


def _masked(student: jax.Array, target: jax.Array, where: jax.Array | None) -> Paired:
    if where is None:
        return Paired(student, target)
    # Whatever stands there (NaN, infinities) stays out of the gradient, too.
    return Paired(jnp.where(where, student, 0), jnp.where(where, target, 0), where)
