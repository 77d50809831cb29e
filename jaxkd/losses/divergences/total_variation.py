"""The total variation distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import paired_log_probs
from jaxkd.losses._sparse_logits import SparseLogits


def total_variation(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the total variation distance 0.5 sum |p - q|, between 0 and 1.

    p is the teacher's softmax and q the student's, both at the temperature; there is no factor
    `temperature**2`. At student = teacher, where the distance has a kink, the gradient is 0; with a
    sparse teacher it is there within rounding error of the kink, on either side.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).

    Returns:
      `[...]`, one distance an example, float32 at least.

    Raises:
      ValueError: as `kl_divergence`.
      TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.total_variation(student, teacher):.3f}")
      0.222

    References:
      Wen et al., f-Divergence Minimization for Sequence-Level Knowledge Distillation, 2023.
    """
    pair = paired_log_probs(student, teacher, temperature, axis, where)
    return pair.finish(
        0.5 * jnp.sum(jnp.abs(jnp.exp(pair.teacher) - jnp.exp(pair.student)), axis=-1)
    )
