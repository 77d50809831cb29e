"""Hard-label distillation: the teacher's decision in place of the label."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import check_axis, dense, paired_logits
from jaxkd.losses._sparse_logits import SparseLogits, check_sparse
from jaxkd.losses.cross_entropy import cross_entropy


def hard_kd(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the cross entropy of the student with the teacher's likeliest class.

    Of classes with equal logits the first one counts. There is no temperature: no positive one
    changes the decision.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      axis: the class axis of dense logits.
      where: boolean; with the rank of the logits a mask of classes (both sides are restricted to
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example in nats, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a mask of classes for a sparse
        teacher.
      TypeError: a `SparseLogits` student, a `SampledClasses` teacher.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([2.0, 0.0]), jnp.array([1.0, 3.0])
      >>> print(f"{losses.hard_kd(student, teacher):.3f}")
      2.127

    References:
      Touvron et al., Training data-efficient image transformers & distillation through attention,
      2021, section 4 (hard-label distillation).
    """
    if not isinstance(teacher, SparseLogits):
        pair = paired_logits(student, teacher, 1.0, axis, where)
        return cross_entropy(student, jnp.argmax(pair.teacher, axis=-1), axis=axis, where=where)
    student = dense("student", student, "only a teacher can be sparse")
    if where is not None and jnp.ndim(where) == student.ndim:
        raise ValueError(
            f"where of shape {jnp.shape(where)} masks classes, but a SparseLogits teacher may have "
            "kept none of those that remain: mask them in the teacher's logits before they are "
            "stored, and in the student's"
        )
    student = jnp.moveaxis(student, check_axis(axis, student), -1)
    check_sparse(teacher, student.shape)
    indices = jnp.asarray(teacher.indices)
    kept = jnp.where(indices < teacher.num_classes, jnp.asarray(teacher.logits), -jnp.inf)
    best = jnp.argmax(kept, axis=-1, keepdims=True)
    return cross_entropy(student, jnp.take_along_axis(indices, best, -1)[..., 0], where=where)
