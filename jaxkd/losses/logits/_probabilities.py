"""The class probabilities of a whole batch, for losses that couple its examples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import batch_mask, mask_rows
from jaxkd.losses._logit_pairs import Paired, dense, paired_logits
from jaxkd.losses._sparse_logits import SparseLogits

_SPARSE = "the probabilities of all classes are needed; store dense logits"


def paired_probabilities(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    temperature: ArrayLike,
    where: ArrayLike | None,
) -> tuple[Paired, jax.Array]:
    """Pairs softmaxes `[batch, num_classes]`, 0 in the examples that take no part.

    Args:
      student: logits `[batch, num_classes]`.
      teacher: logits of the same shape.
      temperature: a positive scalar; may be traced.
      where: boolean `[batch]`, or None.

    Returns:
      The pair, and the number of examples that take part, a scalar of its dtype.

    Raises:
      TypeError: `SparseLogits`.
      ValueError: shapes, temperature or mask that do not fit.
    """
    student = dense("student", student, "only a teacher can be sparse")
    if student.ndim != 2:
        raise ValueError(
            f"the loss relates the examples of a batch and takes logits [batch, num_classes], got "
            f"student logits of shape {student.shape}: flatten the leading axes into one"
        )
    rows = None if where is None else batch_mask(where, student.shape)
    teacher = dense("teacher", teacher, _SPARSE)
    pair = paired_logits(student, teacher, temperature, -1, rows)
    q, p = (mask_rows(jax.nn.softmax(x), rows) for x in (pair.student, pair.teacher))
    dtype = pair.student.dtype
    count = jnp.asarray(student.shape[0], dtype) if rows is None else jnp.sum(rows, dtype=dtype)
    return Paired(q, p, rows), count
