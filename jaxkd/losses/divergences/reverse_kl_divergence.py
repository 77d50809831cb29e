"""The reverse Kullback-Leibler divergence."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import paired_log_probs
from jaxkd.losses._numerics import kl_to_mixture
from jaxkd.losses._sparse_logits import SparseLogits


def reverse_kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the reverse Kullback-Leibler divergence KL(q || p), which seeks the teacher's modes.

    p is the teacher's softmax and q the student's, both at the temperature; there is no factor
    `temperature**2`. A class whose teacher logit is -inf is masked for the student too, since any
    mass there would make the divergence infinite.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).

    Returns:
      `[...]`, one divergence an example in nats, float32 at least.

    Raises:
      ValueError: as `kl_divergence`.
      TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.reverse_kl_divergence(student, teacher):.3f}")
      0.273

    References:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, 2024.
    """
    pair = paired_log_probs(student, teacher, temperature, axis, where, restrict_student=True)
    return pair.finish(kl_to_mixture(pair.student, pair.teacher, 0.0))
