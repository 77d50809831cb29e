"""Weighted soft labels, which count less where the student is ahead of the teacher."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._numerics import soft_cross_entropy, temper
from jaxkd.losses.logits._target import at_class, labeled_pair


def wsld(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes weighted soft labels, which count less where the student is ahead of the teacher.

    `temperature**2 * w * CE(p, q)` with p and q at the temperature and the weight
    `w = 1 - exp(-CE_s / (CE_t + 1e-7))`, where CE_s and CE_t are both sides' cross entropies with
    the label at temperature 1. The weight is a constant: no gradient flows through it. A cross
    entropy and not a divergence: the loss is not zero at student = teacher. The loss weight
    of the authors, 2.25, is not inside.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none (loss and
        gradient are then 0). A class id that is too large gives NaN. An example whose label the
        teacher excludes with a logit of -inf weighs 0.
      temperature: positive scalar that divides both logits; may be traced. 4 on CIFAR-100, 2 on
        ImageNet.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, labels that are not integers `[...]`, a mask of another rank,
        a temperature that is not positive and finite.
      TypeError: `SparseLogits` on any side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[1.0, 0.0], [9.0, 0.0]]), jnp.array([[3.0, 0.0]] * 2)
      >>> [f"{loss:.3f}" for loss in losses.wsld(student, teacher, jnp.array([0, 0]))]
      ['10.482', '0.033']

    References:
      Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
      Perspective, ICLR 2021 (the code of cls_KD, equal to mmrazor's).
    """
    pair, ids = labeled_pair(student, teacher, labels, axis, where)
    check_temperature(temperature)
    dtype = pair.student.dtype
    log_q, log_p = (
        jax.nn.log_softmax(temper(x, temperature, dtype)) for x in (pair.student, pair.teacher)
    )
    student_cost, teacher_cost = (
        -at_class(jax.nn.log_softmax(x), ids) for x in (pair.student, pair.teacher)
    )
    # Infinity over infinity, a label that both sides rule out, would be NaN.
    possible = ~jnp.isposinf(teacher_cost)
    ratio = jnp.where(possible, student_cost, 0) / (jnp.where(possible, teacher_cost, 0) + 1e-7)
    weight = jax.lax.stop_gradient(-jnp.expm1(-ratio))
    squared = jnp.square(jnp.asarray(temperature, dtype))
    return pair.finish(squared * weight * soft_cross_entropy(jnp.exp(log_p), log_q))
