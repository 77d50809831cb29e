"""The mean of the forward and the reverse Kullback-Leibler divergence."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses._sparse_logits import SparseLogits
from jaxkd.losses.divergences.kl_divergence import kl_divergence
from jaxkd.losses.divergences.reverse_kl_divergence import reverse_kl_divergence


def symmetric_kl_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the mean of both directions, 0.5 KL(p || q) + 0.5 KL(q || p).

    p is the teacher's softmax and q the student's, both at the temperature; there is no factor
    `temperature**2`. Jeffreys' divergence is twice this.

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
        )
        for divergence in (kl_divergence, reverse_kl_divergence)
    )
    return 0.5 * forward + 0.5 * reverse
