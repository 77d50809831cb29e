"""One for all: distillation between architectures, with an enhanced label's class."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive, check_temperature
from jaxkd.losses._numerics import soft_cross_entropy, temper
from jaxkd.losses.logits._target import is_class, labeled_pair


def ofa(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 1.0,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes adaptive target enhancement, `-sum(((p + 1_y)**epsilon - 1_y) * log q)`.

    `1_y` is 1 at the label's class and 0 elsewhere. With epsilon 1 this is the cross entropy of
    student and teacher; above 1 the label's class gains weight and the others lose it, the more so
    the less certain the teacher is. A cross entropy, not zero at student = teacher, and without the
    factor `temperature**2`, as in the authors' code. The authors add this loss over the exits of
    all stages: one call for the logits of each.

    Args:
      student: logits `[..., num_classes]` of an exit or of the network.
      teacher: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none: such an
        example has no class to enhance, and `1_y` is 0. A class id that is too large gives NaN.
      epsilon: positive scalar; may be traced. The authors use 1 to 1.5.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, labels that are not integers `[...]`, a mask of another rank,
        an epsilon or a temperature that is not positive and finite.
      TypeError: `SparseLogits` on any side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> label = jnp.array(0)
      >>> [f"{losses.ofa(student, teacher, label, epsilon=e):.3f}" for e in (1.0, 1.5)]
      ['0.361', '0.555']

    References:
      Hao et al., One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
      Distillation, NeurIPS 2023 (the authors' code).
    """
    pair, ids = labeled_pair(student, teacher, labels, axis, where, unlabeled_take_part=True)
    check_positive("epsilon", epsilon)
    check_temperature(temperature)
    dtype = pair.student.dtype
    log_q, log_p = (
        jax.nn.log_softmax(temper(x, temperature, dtype)) for x in (pair.student, pair.teacher)
    )
    epsilon = jnp.asarray(epsilon, dtype)
    # From logarithms on both sides, so that neither (1 + p)**epsilon - 1 nor a small p is lost.
    impossible = jnp.isneginf(log_p)
    power = jnp.where(impossible, 0, jnp.exp(epsilon * jnp.where(impossible, 0, log_p)))
    enhanced = jnp.expm1(epsilon * jnp.log1p(jnp.exp(log_p)))
    weights = jnp.where(is_class(ids, log_q.shape[-1]), enhanced, power)
    loss = soft_cross_entropy(weights, log_q)
    # An id that is too large equals no class above, and would pass for no label.
    return pair.finish(jnp.where(ids < log_q.shape[-1], loss, jnp.nan))
