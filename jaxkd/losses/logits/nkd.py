"""Normalized distillation: the classes other than the label's, normalized."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._numerics import soft_cross_entropy, temper
from jaxkd.losses.logits._target import at_class, is_class, labeled_pair, log_probs_among


def nkd(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: ArrayLike = 1.5,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes normalized distillation, `-p_y log q_y - gamma temperature**2 sum(p' log q')`.

    `p_y` and `q_y` are the probabilities of the label's class y, at temperature 1 whatever
    `temperature` is; p' and q' the softmaxes over the other classes alone, at the temperature.
    Cross entropies and not divergences: the teacher's entropy is not subtracted, and the loss is
    not zero at student = teacher.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none (loss and
        gradient are then 0). A class id that is too large gives NaN.
      gamma: weight of the classes other than the label's; may be traced.
      temperature: positive scalar; may be traced.
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
      >>> student, teacher = jnp.array([2.0, 1.0, 0.0]), jnp.array([4.0, 0.0, 0.0])
      >>> print(f"{losses.nkd(student, teacher, jnp.array(0)):.3f}")
      1.613

    References:
      Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach
      with Normalized Loss and Customized Soft Labels, ICCV 2023 (the authors' code, cls_KD).
    """
    pair, ids = labeled_pair(student, teacher, labels, axis, where)
    check_temperature(temperature)
    dtype = pair.student.dtype
    log_q_label, log_p_label = (
        at_class(jax.nn.log_softmax(x), ids)[..., None] for x in (pair.student, pair.teacher)
    )
    target = soft_cross_entropy(jnp.exp(log_p_label), log_q_label)

    others = ~is_class(ids, pair.student.shape[-1])
    log_q, log_p = (
        log_probs_among(temper(x, temperature, dtype), others) for x in (pair.student, pair.teacher)
    )
    weight = jnp.asarray(gamma, dtype) * jnp.square(jnp.asarray(temperature, dtype))
    return pair.finish(target + weight * soft_cross_entropy(jnp.exp(log_p), log_q))
