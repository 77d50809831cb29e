"""The forward Kullback-Leibler divergence."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import paired_log_probs, sampled_divergence
from jaxkd.losses._numerics import kl_to_mixture
from jaxkd.losses._sampled_classes import SampledClasses
from jaxkd.losses._sparse_logits import SparseLogits


def kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits | SampledClasses,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the forward Kullback-Leibler divergence KL(p || q) of student from teacher.

    p is the teacher's softmax and q the student's, both at the temperature; there is no factor
    `temperature**2`, which `kd` has. A class whose teacher logit is -inf has p = 0 and still costs
    the student the mass it puts there. A class whose student logit is -inf while the teacher's is
    not makes the divergence infinite.

    Args:
      student: logits `[..., num_classes]`, any floating dtype.
      teacher: logits `[..., num_classes]`; or `SparseLogits` `[..., k]`, in which case the
        divergence is that of the k + 1 buckets, a lower bound on the dense one; or
        `SampledClasses`, which give an unbiased estimate.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a temperature that is not positive and
        finite or that a sparse teacher does not declare or was not sampled at.
      TypeError: a `SparseLogits` or `SampledClasses` student.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[0.0, 0.0], [2.0, 0.0]])
      >>> teacher = jnp.array([[0.0, 0.0], [0.0, 2.0]])
      >>> [f"{loss:.3f}" for loss in losses.kl_divergence(student, teacher)]
      ['0.000', '1.523']

    References:
      Kullback and Leibler, On Information and Sufficiency, 1951.
    """
    if isinstance(teacher, SampledClasses):
        return sampled_divergence(student, teacher, temperature, axis, where)
    pair = paired_log_probs(student, teacher, temperature, axis, where)
    return pair.finish(kl_to_mixture(pair.teacher, pair.student, 0.0))
