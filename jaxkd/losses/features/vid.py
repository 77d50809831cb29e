"""Variational information distillation: a Gaussian prediction of the teacher's features.

A connector predicts the mean for each example; the variance is one trained number per channel,
which the connector stores as a `log_scale` that `vid_variance` maps to positive numbers.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses._feature_pairs import paired_features
from jaxkd.losses._numerics import compute_dtype
from jaxkd.losses.features._positions import check_same_channels
from jaxkd.ops import to_common_size


def vid(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    variance: ArrayLike,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes variational information distillation, a Gaussian negative log-likelihood.

    The loss is `0.5 * mean((teacher - student)**2 / variance + log(variance))`, the mean over
    positions and channels, without the constant `0.5 * log(2 * pi)`: it can be negative, and at
    student = teacher it is not 0. As in the code of the CRD benchmark (weight 1, summed over
    stages). Other code omits the variance from the optimizer and so never trains it.

    Args:
      student: predicted mean `[batch, ..., channels]`: maps, tokens or vectors.
      teacher: features `[batch, ..., channels]`; of two maps the larger is pooled to the smaller's
        size.
      variance: positive variances `[channels]`, for instance from `vid_variance`. The gradient
        flows to them.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: shapes that differ, a variance that is not `[channels]`, a mask that is not
        `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> mean, teacher = jnp.zeros((1, 2, 2, 2)), jnp.full((1, 2, 2, 2), 2.0)
      >>> losses.vid(mean, teacher, variance=jnp.ones(2))
      Array([2.], dtype=float32)

    References:
      Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019.
    """
    pair = paired_features(student, teacher, where, same_shape=False)
    check_same_channels(pair)
    mean, target = pair.student, pair.teacher
    if mean.ndim == target.ndim == 4:
        mean, target = to_common_size(mean, target)
    if mean.shape != target.shape:
        raise ValueError(
            f"predicted mean of shape {mean.shape} and teacher of shape {target.shape} have no "
            "positions in common: two maps are pooled to the smaller size, the numbers of tokens "
            "must be equal"
        )
    variance = jnp.asarray(variance)
    if variance.shape != mean.shape[-1:]:
        raise ValueError(
            f"variance must be [channels] = {mean.shape[-1:]} for features of shape {mean.shape}, "
            f"got {variance.shape}"
        )
    variance = variance.astype(jnp.promote_types(mean.dtype, variance.dtype))
    likelihood = jnp.square(target - mean) / variance + jnp.log(variance)
    return pair.finish(0.5 * jnp.mean(likelihood, axis=tuple(range(1, likelihood.ndim))))


def vid_variance(log_scale: ArrayLike, *, epsilon: ArrayLike = 1e-5) -> jax.Array:
    """Computes the variance of `vid` from the trained parameter, `softplus(log_scale) + epsilon`.

    It is finite for every finite scale, where the plain `log(1 + exp(log_scale))` overflows above
    88.

    Args:
      log_scale: trained parameter of any shape, usually `[channels]`.
      epsilon: smallest variance.

    Returns:
      Positive variances of the same shape, float32 at least.

    Raises:
      ValueError: an epsilon that is not positive.

    Example:
      >>> from jaxkd import losses
      >>> print(f"{losses.vid_variance(losses.vid_log_scale(5.0)):.3f}")
      5.000

    References:
      Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019.
    """
    check_positive("epsilon", epsilon)
    log_scale = jnp.asarray(log_scale)
    dtype = compute_dtype(log_scale)
    return jax.nn.softplus(log_scale.astype(dtype)) + jnp.asarray(epsilon, dtype)


def vid_log_scale(initial_variance: float = 5.0, epsilon: float = 1e-5) -> float:
    """Computes the initial `log_scale`, which `vid_variance` maps to a given variance.

    Args:
      initial_variance: variance above epsilon; 5 in the authors' code.
      epsilon: smallest variance, as in `vid_variance`.

    Returns:
      `log(exp(initial_variance - epsilon) - 1)`.

    Raises:
      ValueError: an initial variance that is not above epsilon.

    Example:
      >>> from jaxkd import losses
      >>> print(f"{losses.vid_log_scale(5.0):.3f}")
      4.993

    References:
      Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019.
    """
    excess = initial_variance - epsilon
    if not (excess > 0 and math.isfinite(excess)):
        raise ValueError(
            f"initial_variance must be finite and above epsilon, the smallest variance: got "
            f"{initial_variance} and {epsilon}"
        )
    return excess + math.log(-math.expm1(-excess))
