"""Scale-decoupled distillation: a loss on logits, applied to every region of the image."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import batch_mask
from jaxkd.losses._logit_pairs import dense, keep_rows
from jaxkd.losses.logits.kd import kd


def sdd(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    loss: Callable[..., jax.Array] = kd,
    temperature: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes scale-decoupled distillation: the mean of a loss over regions of the image.

    The first region is the whole image. A region weighs 2 where the teacher is right in it and
    wrong on the whole image, or the other way round, and 1 elsewhere; the sum is divided by the
    number of regions, not of weights. The logits of a region are those of the classifier on its
    pooled features: `jaxkd.ops.pyramid` pools 1, 4 and 16 regions.

    The authors' code for NKD keeps the label's class among the others by mistake; with
    `loss=losses.nkd` it is left out, as NKD requires.

    Args:
      student: logits `[batch, regions, num_classes]`, the whole image first.
      teacher: logits of the same shape.
      labels: integers `[batch]`, negative where there is none: all regions then weigh 1, and a loss
        that takes labels treats the example as it always does.
      loss: function of `(student, teacher)` or `(student, teacher, labels)` with a keyword `where`
        that returns one number a row: `losses.kd`, `losses.dkd`, `losses.nkd` or
        `functools.partial(losses.dkd, beta=2.0)`.
      temperature: passed to the loss; None leaves the loss's own default.
      where: boolean `[batch]`; the loss is 0 where False.

    Returns:
      `[batch]`, float32 at least.

    Raises:
      ValueError: logits that are not `[batch, regions, num_classes]` or differ in shape, labels
        that are not integers `[batch]`, a mask that is not `[batch]`, a loss that does not return
        one number a region, and what the loss itself rejects.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.zeros((1, 2, 2))
      >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
      >>> for teacher in ([right, right], [right, wrong]):
      ...     print(f"{losses.sdd(student, jnp.array([teacher]), jnp.array([0]))[0]:.3f}")
      0.124
      0.186

    References:
      Luo et al., Scale Decoupled Distillation, CVPR 2024 (the authors' code, SDD-CVPR2024).
    """
    student = dense("student", student, "only a teacher can be sparse")
    teacher = dense("teacher", teacher, "its largest class must be known in every region")
    labels = dense("labels", labels, "it holds a teacher's logits")
    if student.ndim != 3 or student.shape != teacher.shape:
        raise ValueError(
            "logits must be [batch, regions, num_classes], the same for both: got student "
            f"{student.shape} and teacher {teacher.shape}"
        )
    cells = student.shape[:2]
    if labels.shape != cells[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers of shape {cells[:1]} for logits of shape {student.shape}, "
            f"got {labels.dtype} labels of shape {labels.shape}"
        )
    rows = None if where is None else batch_mask(where, student.shape)
    # Multiplied and not broadcast, so that the copies are sharded like the logits.
    everywhere = jnp.ones_like(student[..., 0], dtype=labels.dtype)
    arguments: dict[str, Any] = {}
    if rows is not None:
        arguments["where"] = rows[:, None] & (everywhere > 0)
    if temperature is not None:
        arguments["temperature"] = temperature
    if "labels" in inspect.signature(loss).parameters:
        arguments["labels"] = labels[:, None] * everywhere
    values = loss(student, teacher, **arguments)
    if values.shape != cells:
        raise ValueError(
            f"loss must return one number a region, of shape {cells}, got shape {values.shape}: "
            "one that couples the examples of a batch has no regions to weigh"
        )
    right = jnp.argmax(teacher, axis=-1) == labels[:, None]
    weights = jnp.where(right != right[:, :1], 2, 1).astype(values.dtype)
    return keep_rows(jnp.mean(weights * values, axis=1), rows)
