"""Logit standardization: logits less their mean, over their standard deviation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._logit_pairs import check_axis, dense, mask_logits, paired_logits, split_where
from jaxkd.losses._numerics import compute_dtype, kl_to_mixture, temper

_SPARSE = "mean and deviation need the logits of all classes; store dense logits"
_LARGEST_GAP = 1e18


def standardize_logits(
    logits: ArrayLike, *, axis: int = -1, where: ArrayLike | None = None
) -> jax.Array:
    """Standardizes logits, `(z - mean(z)) / (1e-7 + std(z))` over the classes of each row.

    The standard deviation has the divisor n - 1, as in the authors' code. A constant row becomes 0
    with gradient 0, where the formula alone has a gradient of 1e7. With both sides standardized any
    loss on logits ignores their location and scale: `dkd` on standardized logits is DKD + LSKD.

    Args:
      logits: `[..., num_classes]`.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (mean and deviation are of the
        selected ones), with one rank less a mask of examples (0 where False). Classes whose logit
        is -inf are left out of mean and deviation as well.

    Returns:
      The shape of `logits`, float32 at least; -inf at classes that are masked.

    Raises:
      ValueError: an axis out of range, a mask of another rank.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.standardize_logits(jnp.array([[10.0, 20.0, 30.0], [7.0, 7.0, 7.0]]))
      Array([[-1.,  0.,  1.],
             [ 0.,  0.,  0.]], dtype=float32)

    References:
      Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.
    """
    logits = dense("logits", logits, _SPARSE)
    axis = check_axis(axis, logits)
    classes, rows = split_where(where, logits.shape, axis)
    last = jnp.moveaxis(logits.astype(compute_dtype(logits)), axis, -1)
    return jnp.moveaxis(standardized(mask_logits(last, classes, rows)), -1, axis)


def lskd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 2.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes distillation of standardized logits, `temperature**2 * KL(p || q)`.

    `kd` on `standardize_logits` of both sides: the student need not match the teacher's mean and
    scale, which a smaller network cannot. The loss weight of the authors, 9 beside 0.1 of the
    label's cross entropy, is not inside.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      temperature: positive scalar that divides the standardized logits; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (means, deviations and softmaxes
        are of the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least. Constant logits have no gradient.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a temperature that is not positive and
        finite.
      TypeError: `SparseLogits` on either side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> teacher = jnp.array([3.0, 1.0, 0.0])
      >>> print(f"{abs(losses.lskd(10 * teacher + 5, teacher)):.3f}")
      0.000
      >>> print(f"{losses.lskd(jnp.array([1.0, 3.0, 0.0]), teacher):.3f}")
      0.664

    References:
      Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024 (the authors' code;
      torchdistill's has no factor `temperature**2`).
    """
    teacher = dense("teacher", teacher, _SPARSE)
    pair = paired_logits(student, teacher, 1.0, axis, where)
    check_temperature(temperature)
    dtype = pair.student.dtype
    log_q, log_p = (
        jax.nn.log_softmax(temper(standardized(x), temperature, dtype))
        for x in (pair.student, pair.teacher)
    )
    squared = jnp.square(jnp.asarray(temperature, dtype))
    return pair.finish(squared * kl_to_mixture(log_p, log_q, 0.0))


def standardized(logits: jax.Array) -> jax.Array:
    """Standardizes logits along the last axis; -inf stays and does not count."""
    present = ~jnp.isneginf(logits)
    count = jnp.sum(present, axis=-1, keepdims=True, dtype=logits.dtype)
    # A shift changes nothing, but makes a constant row exactly 0. A gap beyond the limit, as of the
    # lowest float for a mask, would overflow when squared.
    shift = jnp.max(logits, axis=-1, keepdims=True, where=present, initial=-jnp.inf)
    shift = jax.lax.stop_gradient(jnp.where(count > 0, shift, 0))
    shifted = jnp.maximum(jnp.where(present, logits, 0) - shift, -_LARGEST_GAP)
    shifted = jnp.where(present, shifted, 0)
    mean = jnp.sum(shifted, axis=-1, keepdims=True) / jnp.maximum(count, 1)
    centered = jnp.where(present, shifted - mean, 0)
    variance = jnp.sum(jnp.square(centered), axis=-1, keepdims=True) / jnp.maximum(count - 1, 1)
    constant = variance == 0
    deviation = jnp.sqrt(jnp.where(constant, 1, variance))
    result = jnp.where(constant, 0, centered / (1e-7 + deviation))
    return jnp.where(present, result, -jnp.inf)
