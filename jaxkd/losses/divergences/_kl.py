"""Divergences between the tempered distributions of student and teacher.

Throughout, p is the teacher's softmax and q the student's, both at the given temperature. None of
these has Hinton's factor `temperature**2`, which keeps gradients comparable across temperatures:
`kd` has it.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import concrete_value
from jaxkd.losses._numerics import paired_log_probs, sampled_divergence
from jaxkd.losses._sampled import SampledClasses
from jaxkd.losses._sparse import SparseLogits


def kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits | SampledClasses,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Forward Kullback-Leibler divergence KL(p || q) of the student from the teacher.

    Without the factor `temperature**2`; see `kd`. A class whose teacher logit is -inf has p = 0
    and still costs the student the mass it puts there. A class whose student logit is -inf while
    the teacher's is not makes the divergence infinite.

    Args:
      student: logits `[..., num_classes]`, any floating dtype.
      teacher: logits `[..., num_classes]`; or `SparseLogits` `[..., k]`, in which case the
        divergence is that of the k + 1 buckets, a lower bound on the dense one; or
        `SampledClasses`, which give an estimate that is right in the mean over the draws.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a temperature that is not positive and
        finite or that a sparse teacher does not declare or was not drawn at.
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
        return sampled_divergence(student, teacher, temperature, axis, where, teacher_gradient)
    pair = paired_log_probs(student, teacher, temperature, axis, where, teacher_gradient)
    return pair.finish(kl_to_mixture(pair.teacher, pair.student, 0.0))


def reverse_kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Reverse Kullback-Leibler divergence KL(q || p), which seeks the teacher's modes.

    Without the factor `temperature**2`. A class whose teacher logit is -inf is masked for the
    student too, since any mass there would make the divergence infinite.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError, TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.reverse_kl_divergence(student, teacher):.3f}")
      0.273

    References:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, 2024.
    """
    pair = paired_log_probs(
        student, teacher, temperature, axis, where, teacher_gradient, restrict_student=True
    )
    return pair.finish(kl_to_mixture(pair.student, pair.teacher, 0.0))


def symmetric_kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """The mean of both directions, 0.5 KL(p || q) + 0.5 KL(q || p).

    Without the factor `temperature**2`. Jeffreys' divergence is twice this.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError, TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.symmetric_kl_divergence(student, teacher):.3f}")
      0.222

    References:
      Jeffreys, An Invariant Form for the Prior Probability in Estimation Problems, 1946.
    """
    forward, reverse = (
        divergence(
            student,
            teacher,
            temperature=temperature,
            axis=axis,
            where=where,
            teacher_gradient=teacher_gradient,
        )
        for divergence in (kl_divergence, reverse_kl_divergence)
    )
    return 0.5 * forward + 0.5 * reverse


def total_variation(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Total variation distance 0.5 sum |p - q|, between 0 and 1.

    Without the factor `temperature**2`. At student = teacher, where the distance has a kink, the
    gradient is 0; with a sparse teacher it is there within rounding error of the kink, on either
    side.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one distance an example, float32 at least.

    Raises:
      ValueError, TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.total_variation(student, teacher):.3f}")
      0.222

    References:
      Wen et al., f-Divergence Minimization for Sequence-Level Knowledge Distillation, 2023.
    """
    pair = paired_log_probs(student, teacher, temperature, axis, where, teacher_gradient)
    return pair.finish(
        0.5 * jnp.sum(jnp.abs(jnp.exp(pair.teacher) - jnp.exp(pair.student)), axis=-1)
    )


def kl_to_mixture(log_a: jax.Array, log_b: jax.Array, weight: ArrayLike) -> jax.Array:
    """KL(a || weight a + (1 - weight) b) along the last axis, from log-probabilities."""
    a = jnp.exp(log_a)
    # 0 log 0 is 0, but a NaN must not be hidden, and some compilers take exp(NaN) for 0.
    present = (a != 0) | jnp.isnan(log_a)
    # log(a / mixture) comes from log(a / b) alone: the size of the logits does not enter.
    log_ratio = jnp.where(present, log_a, 0) - jnp.where(present, log_b, 0)
    if concrete_value(weight) != 0:
        weight = jnp.asarray(weight, log_a.dtype)
        log_ratio = -jnp.logaddexp(jnp.log(weight), jnp.log1p(-weight) - log_ratio)
    return jnp.sum(jnp.where(present, a * log_ratio, 0), axis=-1)
