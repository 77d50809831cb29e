"""Decoupled knowledge distillation: separate weights for the label's class and the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._numerics import kl_to_mixture, temper
from jaxkd.losses.logits._target import (
    class_against_rest,
    is_class,
    labeled_pair,
    log_probs_among,
)


def dkd(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike = 1.0,
    beta: ArrayLike = 8.0,
    temperature: ArrayLike = 4.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes decoupled knowledge distillation, `temperature**2 * (alpha TCKD + beta NCKD)`.

    TCKD is the divergence KL(b_t || b_s) of `b = [p_y, 1 - p_y]`, the label's class y against all
    others together; NCKD that of the softmaxes over the other classes alone. Hinton's `kd` has
    alpha 1 and `1 - p_y` of the teacher in place of beta, so that little is learned from a
    confident teacher about the other classes.

    The label's class is left out of the softmax of NCKD altogether. Public implementations subtract
    1000 from its logit, which is not enough for large logits or float16, and take the logarithm of
    a softmax, infinite from a gap of about 100 in float32. The authors warm the whole loss up
    linearly over the first 20 epochs: a schedule of its weight.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none (loss and
        gradient are then 0). A class id that is too large gives NaN.
      alpha: weight of TCKD; may be traced.
      beta: weight of NCKD; may be traced. The authors use 2, 6 or 8 on CIFAR-100 and 0.5 on
        ImageNet.
      temperature: positive scalar that divides both logits; may be traced. 4 on CIFAR-100, 1 on
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
      >>> student = jnp.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
      >>> teacher = jnp.array([[2.0, 1.0, 0.0], [2.0, 0.0, 1.0]])
      >>> [f"{loss:.2f}" for loss in losses.dkd(student, teacher, jnp.array([0, 0]))]
      ['0.00', '3.98']

    References:
      Zhao et al., Decoupled Knowledge Distillation, CVPR 2022 (the authors' code, mdistiller).
    """
    pair, ids = labeled_pair(student, teacher, labels, axis, where)
    check_temperature(temperature)
    dtype = pair.student.dtype
    z_s, z_t = (temper(x, temperature, dtype) for x in (pair.student, pair.teacher))
    others = ~is_class(ids, z_s.shape[-1])
    target = kl_to_mixture(class_against_rest(z_t, ids), class_against_rest(z_s, ids), 0.0)
    rest = kl_to_mixture(log_probs_among(z_t, others), log_probs_among(z_s, others), 0.0)
    loss = jnp.asarray(alpha, dtype) * target + jnp.asarray(beta, dtype) * rest
    return pair.finish(jnp.square(jnp.asarray(temperature, dtype)) * loss)
