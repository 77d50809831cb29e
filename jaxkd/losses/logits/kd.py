"""Hinton's distillation loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._sampled_classes import SampledClasses
from jaxkd.losses._sparse_logits import SparseLogits
from jaxkd.losses.divergences.kl_divergence import kl_divergence


def kd(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits | SampledClasses,
    *,
    temperature: ArrayLike = 4.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes Hinton's distillation loss, `temperature**2 * KL(p || q)` at the given temperature.

    p is the teacher's softmax and q the student's. The factor keeps the size of the gradient as the
    temperature grows, so that the weight beside the label's cross entropy need not change with it.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`, or `SampledClasses`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a temperature that is not positive and
        finite or that a sparse teacher does not declare or was not sampled at.
      TypeError: a `SparseLogits` or `SampledClasses` student.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.kd(student, teacher, temperature=2.0):.3f}")
      0.361

    References:
      Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    divergence = kl_divergence(
        student,
        teacher,
        temperature=temperature,
        axis=axis,
        where=where,
    )
    return jnp.square(jnp.asarray(temperature, divergence.dtype)) * divergence
