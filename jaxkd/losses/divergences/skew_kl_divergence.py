"""Skew divergences, which a share of the other distribution keeps bounded."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight, concrete_value
from jaxkd.losses._logit_pairs import paired_log_probs
from jaxkd.losses._numerics import kl_to_mixture
from jaxkd.losses._sparse_logits import SparseLogits


def skew_kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    skew: ArrayLike = 0.1,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the skew divergence KL(p || skew p + (1 - skew) q), a bounded forward KL.

    p is the teacher's softmax and q the student's, both at the temperature; there is no factor
    `temperature**2`. Never larger than `-log(skew)`; skew 0 is `kl_divergence`.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      skew: the teacher's share of the mixture, in [0, 1); a traced one must be positive.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError: a skew outside [0, 1), and as `kl_divergence`.
      TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.skew_kl_divergence(student, teacher):.3f}")
      0.145

    References:
      Ko et al., DistiLLM: Toward Streamlined Distillation for Large Language Models, 2024.
    """
    check_weight("skew", skew, below_one=True)
    pair = paired_log_probs(student, teacher, temperature, axis, where)
    return pair.finish(kl_to_mixture(pair.teacher, pair.student, skew))


def skew_reverse_kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    skew: ArrayLike = 0.1,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the skew divergence KL(q || (1 - skew) p + skew q), a bounded reverse KL.

    p is the teacher's softmax and q the student's, both at the temperature; there is no factor
    `temperature**2`. Never larger than `-log(skew)`; skew 0 is `reverse_kl_divergence`.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      skew: the student's share of the mixture, in [0, 1); a traced one must be positive.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError: a skew outside [0, 1), and as `kl_divergence`.
      TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.skew_reverse_kl_divergence(student, teacher):.3f}")
      0.187

    References:
      Ko et al., DistiLLM: Toward Streamlined Distillation for Large Language Models, 2024.
    """
    check_weight("skew", skew, below_one=True)
    pair = paired_log_probs(
        student,
        teacher,
        temperature,
        axis,
        where,
        restrict_student=concrete_value(skew) == 0,
    )
    return pair.finish(kl_to_mixture(pair.student, pair.teacher, skew))
