"""Transformed teacher matching, which softens the teacher alone, by a power."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses._logit_pairs import Paired, dense, paired_log_probs
from jaxkd.losses._numerics import kl_to_mixture, temper

_SPARSE = "the powers of all probabilities are needed; store dense logits"


def ttm(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    gamma: ArrayLike = 0.1,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes transformed teacher matching: KL(r || q) with `r = p**gamma / sum(p**gamma)`.

    The teacher alone is softened, by a power that is the temperature `1 / gamma`; the student stays
    at temperature 1, and there is no factor `temperature**2`. Not zero at student = teacher, unless
    gamma is 1. Computed from logarithms throughout, so that no probability is lost to underflow.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      gamma: positive scalar, the power of the teacher's probabilities; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one divergence an example, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a gamma that is not positive and
        finite.
      TypeError: `SparseLogits` on either side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([4.0, 0.0])
      >>> print(f"{losses.ttm(student, teacher, gamma=0.25):.3f}")
      0.000
      >>> print(f"{losses.ttm(student, teacher):.3f}")
      0.041

    References:
      Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024.
    """
    pair, log_power = _powers(student, teacher, gamma, axis, where)
    return pair.finish(kl_to_mixture(jax.nn.log_softmax(log_power), pair.student, 0.0))


def wttm(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    gamma: ArrayLike = 0.1,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes weighted transformed teacher matching: `ttm` times `sum(p**gamma)`.

    For a gamma below 1 the weight is 1 where the teacher is certain and grows with its uncertainty,
    up to `num_classes**(1 - gamma)`.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      gamma: positive scalar, the power of the teacher's probabilities; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a gamma that is not positive and
        finite.
      TypeError: `SparseLogits` on either side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([4.0, 0.0])
      >>> print(f"{losses.wttm(student, teacher):.3f}")
      0.068

    References:
      Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024.
    """
    pair, log_power = _powers(student, teacher, gamma, axis, where)
    divergence = kl_to_mixture(jax.nn.log_softmax(log_power), pair.student, 0.0)
    return pair.finish(jnp.exp(jax.nn.logsumexp(log_power, axis=-1)) * divergence)


def _powers(
    student: ArrayLike,
    teacher: ArrayLike,
    gamma: ArrayLike,
    axis: int,
    where: ArrayLike | None,
) -> tuple[Paired, jax.Array]:
    """Returns the pair as log-probabilities, and `gamma log p` of the teacher."""
    teacher = dense("teacher", teacher, _SPARSE)
    check_positive("gamma", gamma)
    pair = paired_log_probs(student, teacher, 1.0, axis, where)
    dtype = pair.teacher.dtype
    return pair, temper(pair.teacher, 1 / jnp.asarray(gamma, dtype), dtype)
