"""Refined logit distillation: the teacher's confidence, and the classes below the label's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive, check_temperature
from jaxkd.losses._numerics import kl_to_mixture, temper
from jaxkd.losses.logits._target import (
    at_class,
    class_against_rest,
    labeled_pair,
    log_probs_among,
)
from jaxkd.losses.logits.lskd import standardized


def rld(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike = 1.0,
    beta: ArrayLike = 8.0,
    alpha_temperature: ArrayLike = 1.0,
    temperature: ArrayLike = 4.0,
    standardize: bool = False,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes RLD, `alpha alpha_temperature**2 SCD + beta temperature**2 MCD`.

    SCD, sample confidence distillation, is the divergence from `[p_max, 1 - p_max]`, the teacher's
    likeliest class against the rest, to the student's `[q_y, 1 - q_y]`, the label's class against
    the rest: the confidence comes from the teacher, the class from the label. MCD, masked
    correlation distillation, is the divergence of the softmaxes over the classes that are less
    likely than the label's by the teacher; where there are none it is 0. The loss is zero at
    student = teacher where the teacher is right.

    The authors warm the whole loss up linearly over the first 20 epochs: a schedule of its weight.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none (loss and
        gradient are then 0). A class id that is too large gives NaN; one of a masked class costs
        infinity.
      alpha: weight of SCD; may be traced.
      beta: weight of MCD; may be traced.
      alpha_temperature: positive scalar that divides both logits in SCD; may be traced.
      temperature: positive scalar that divides both logits in MCD; may be traced.
      standardize: whether `standardize_logits` is applied to both logits first.
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
      >>> logits = jnp.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
      >>> [f"{loss:.2f}" for loss in losses.rld(logits, logits, jnp.array([0, 1]))]
      ['0.00', '0.39']

    References:
      Sun et al., Knowledge Distillation with Refined Logits, 2024 (the authors' code).
    """
    pair, ids = labeled_pair(student, teacher, labels, axis, where)
    check_positive("alpha_temperature", alpha_temperature)
    check_temperature(temperature)
    z_s, z_t = pair.student, pair.teacher
    if standardize:
        z_s, z_t = standardized(z_s), standardized(z_t)
    dtype = z_s.dtype

    sure_s, sure_t = (temper(z, alpha_temperature, dtype) for z in (z_s, z_t))
    likeliest = jnp.argmax(z_t, axis=-1)
    confidence = kl_to_mixture(
        class_against_rest(sure_t, likeliest), class_against_rest(sure_s, ids), 0.0
    )

    below = z_t < at_class(z_t, ids)[..., None]
    below_s, below_t = (log_probs_among(temper(z, temperature, dtype), below) for z in (z_s, z_t))
    masked = kl_to_mixture(below_t, below_s, 0.0)

    alpha = jnp.asarray(alpha, dtype) * jnp.square(jnp.asarray(alpha_temperature, dtype))
    beta = jnp.asarray(beta, dtype) * jnp.square(jnp.asarray(temperature, dtype))
    return pair.finish(alpha * confidence + beta * masked)
