"""Hinton's distillation loss of each sigmoid by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._entries import paired_entries
from jaxkd.losses._numerics import temper


def binary_kd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes `temperature**2 * KL(p || q)` of two Bernoulli distributions, for each entry.

    p is the sigmoid of the teacher's logit over the temperature, q that of the student's. It is
    `kd` of the two classes no and yes, whose logits are 0 and the entry's.

    Args:
      student: logits `[..., num_classes]`, or `[...]` of one class.
      teacher: logits of the same shape.
      temperature: positive scalar that divides both logits; may be traced.
      where: boolean, of the shape of the logits or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss for each entry, of the shape of the logits, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit, a temperature that is not positive
        and finite.
      TypeError: `SparseLogits` or `SampledClasses`, which know of classes that exclude each other.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 0.0]])
      >>> [f"{entry:.3f}" for entry in losses.binary_kd(student, teacher, temperature=2.0)[0]]
      ['0.361', '0.000']

    References:
      Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; Yang et al.,
      Multi-Label Knowledge Distillation, ICCV 2023 (one binary task for each label).
    """
    check_temperature(temperature)
    pair = paired_entries(student, teacher, where, what="logits")
    dtype = pair.student.dtype
    s, t = (temper(x, temperature, dtype) for x in (pair.student, pair.teacher))
    divergence = _part(t, s) + _part(-t, -s)
    return pair.finish(jnp.square(jnp.asarray(temperature, dtype)) * divergence)


def _part(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Returns p log(p / q) of sigmoids p and q."""
    p = jax.nn.sigmoid(teacher)
    # 0 log 0 is 0, but a NaN must not be hidden.
    present = (p != 0) | jnp.isnan(teacher)
    log_p, log_q = (jax.nn.log_sigmoid(jnp.where(present, x, 0)) for x in (teacher, student))
    return jnp.where(present, p * (log_p - log_q), 0)
