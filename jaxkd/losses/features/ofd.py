"""Overhaul of feature distillation: a partial distance before the activation, with a margin."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses.features._positions import paired_maps

# Below this probability of a negative value the authors take a margin of three deviations.
_RARE = 0.001


def ofd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    margin: ArrayLike,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the partial distance of OFD, which ignores neurons that are inactive in both.

    The target is `max(teacher, margin)`. Where it is positive the student should match it; where it
    is not, the neuron is inactive, and only a student above the target adds to the loss.

    The sum over an example's elements, as in the authors' code, which then divides by the batch and
    by 1000 and halves the weight of each stage further from the output. The authors run the
    teacher's batch normalization in training mode, which is independent of this function.

    Args:
      student: features `[batch, ..., channels]` behind a connector, before the activation.
      teacher: features of the same shape, before the activation; of two maps of different height or
        width the larger is pooled to the size of the smaller.
      margin: lower bound of the teacher, `[channels]` or a scalar, from `ofd_margin`; -inf for a
        teacher to which the margin has been applied.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, the sum over its elements, float32 at least.

    Raises:
      ValueError: shapes that differ or have no feature axis, a margin that is neither a scalar nor
        `[channels]`, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> teacher = jnp.array([[2.0, -9.0, -9.0]])
      >>> losses.ofd(jnp.array([[1.0, 0.0, -4.0]]), teacher, margin=-1.0)
      Array([2.], dtype=float32)

    References:
      Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019.
    """
    pair = paired_maps(student, teacher, where)
    margin = jnp.asarray(margin, pair.teacher.dtype)
    if margin.shape not in {(), pair.teacher.shape[-1:]}:
        raise ValueError(
            f"margin must be a scalar or [channels] = {pair.teacher.shape[-1:]}, got shape "
            f"{margin.shape}"
        )
    margin = jax.lax.stop_gradient(margin)
    target = jnp.maximum(pair.teacher, margin)
    difference = jnp.where((pair.student > target) | (target > 0), pair.student - target, 0)
    return pair.finish(jnp.sum(jnp.square(difference), axis=tuple(range(1, difference.ndim))))


def ofd_margin(scale: ArrayLike, bias: ArrayLike) -> jax.Array:
    """Computes the margin of `ofd`, the mean of a channel where it is negative.

    Batch normalization leaves a channel with mean `bias` and standard deviation `|scale|`; the
    margin is the mean of the part below 0 of that normal distribution. Where no more than one value
    in 1,000 is negative the margin is -3 standard deviations, as in the authors' code.

    Args:
      scale: scale `[channels]` of the teacher's batch normalization before the activation.
      bias: bias `[channels]` of the same normalization.

    Returns:
      Margins `[channels]`, none positive, float32 at least.

    Raises:
      ValueError: shapes that differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> margin = losses.ofd_margin(jnp.array([1.0, 1.0]), jnp.array([0.0, 5.0]))
      >>> print(f"{margin[0]:.4f}, {margin[1]:.4f}")
      -0.7979, -3.0000

    References:
      Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019.
    """
    scale, bias = jnp.asarray(scale), jnp.asarray(bias)
    if scale.shape != bias.shape:
        raise ValueError(
            f"scale of shape {scale.shape} and bias of shape {bias.shape} must be those of one "
            "batch normalization"
        )
    dtype = jnp.promote_types(jnp.promote_types(scale.dtype, bias.dtype), jnp.float32)
    mean, deviation = bias.astype(dtype), jnp.abs(scale).astype(dtype)
    varies = deviation > 0
    # Outside these bounds the margin is -3 deviations, or the mean itself to the last digit.
    zero = jnp.clip(-mean / jnp.where(varies, deviation, 1), -4, 40)
    below = jax.scipy.stats.norm.cdf(zero)
    margin = mean - deviation * jax.scipy.stats.norm.pdf(zero) / below
    # A channel that never varies is below 0 always or never.
    is_often_negative = jnp.where(varies, below > _RARE, mean < 0)
    return jnp.where(is_often_negative, margin, -3 * deviation)
