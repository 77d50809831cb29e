"""Cross entropy with labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight, concrete_value
from jaxkd.losses._logit_pairs import (
    check_axis,
    check_several_classes,
    dense,
    keep_rows,
    mask_logits,
    split_where,
)
from jaxkd.losses._numerics import compute_dtype


def cross_entropy(
    student: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: ArrayLike = 0.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the cross entropy of the student's softmax with class ids or label distributions.

    Labels are constants: no gradient flows to them.

    Args:
      student: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none (loss and
        gradient are then 0); or distributions `[..., num_classes]`, such as those of mixup, with
        the class axis where the logits have it. A class id that is too large gives NaN.
      label_smoothing: share, in [0, 1], of a label that is spread evenly over the classes that take
        part: those that `where` selects and whose logit is not -inf.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmax is taken over the
        selected ones; what a distribution puts elsewhere is dropped, and a class id elsewhere costs
        infinity), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example in nats, float32 at least.

    Raises:
      ValueError: labels that fit the logits neither as class ids nor as distributions, a mask of
        another rank, a label_smoothing outside [0, 1], one class.
      TypeError: `SparseLogits` on either side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
      >>> [f"{loss:.3f}" for loss in losses.cross_entropy(student, jnp.array([0, 1, -1]))]
      ['0.127', '2.127', '0.000']
      >>> print(f"{losses.cross_entropy(student[0], jnp.array([0.5, 0.5])):.3f}")
      1.127

    References:
      Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016 (smoothing).
    """
    student = dense("student", student, "only a teacher can be sparse")
    labels = dense("labels", labels, "it holds a teacher's logits; use kl_divergence or kd")
    check_weight("label_smoothing", label_smoothing, below_one=False)
    axis = check_axis(axis, student)
    check_several_classes(student, axis)
    labels = jax.lax.stop_gradient(labels)
    are_ids = _are_class_ids(student.shape, labels, axis)
    classes, rows = split_where(where, student.shape, axis)
    if are_ids:
        rows = labels >= 0 if rows is None else rows & (labels >= 0)

    dtype = compute_dtype(student)
    logits = mask_logits(jnp.moveaxis(student.astype(dtype), axis, -1), classes, rows)
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    log_total = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    log_q = shifted - log_total[..., None]
    if are_ids:
        # Looked up in log_q, it would cost a pass over all classes, and another in the gradient.
        ids = jnp.maximum(labels, 0)[..., None]
        loss = log_total - jnp.take_along_axis(shifted, ids, axis=-1)[..., 0]
    else:
        targets = jnp.moveaxis(labels.astype(dtype), axis, -1)
        dropped = targets == 0 if classes is None else ~classes | (targets == 0)
        loss = -jnp.sum(jnp.where(dropped, 0, targets * jnp.where(dropped, 0, log_q)), axis=-1)
    if concrete_value(label_smoothing) == 0:
        return keep_rows(loss, rows)

    present = ~jnp.isneginf(logits)
    uniform = -jnp.mean(jnp.where(present, log_q, 0), axis=-1, where=present)
    smoothing = jnp.asarray(label_smoothing, dtype)
    return keep_rows((1 - smoothing) * loss + smoothing * uniform, rows)


def _are_class_ids(shape: tuple[int, ...], labels: jax.Array, axis: int) -> bool:
    leading = shape[:axis] + shape[axis + 1 :]
    if labels.shape == leading and jnp.issubdtype(labels.dtype, jnp.integer):
        return True
    if labels.shape == shape:
        return False
    raise ValueError(
        f"logits of shape {shape} need integer labels of shape {leading} or distributions of shape "
        f"{shape}, got {labels.dtype} labels of shape {labels.shape}"
    )
