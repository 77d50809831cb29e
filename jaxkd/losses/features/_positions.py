"""Helpers of losses on features as positions and channels, for maps and tokens alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import concrete_value
from jaxkd.losses._feature_pairs import paired_features
from jaxkd.losses._logit_pairs import Paired
from jaxkd.ops import to_common_size


def check_same_channels(pair: Paired) -> None:
    """Raises ValueError unless the last axes of both sides are equal."""
    if pair.student.shape[-1] != pair.teacher.shape[-1]:
        raise ValueError(
            f"features must have the same number of channels, got student {pair.student.shape} and "
            f"teacher {pair.teacher.shape}: put a connector on the student that maps its channels "
            "to the teacher's"
        )


def paired_maps(
    student: ArrayLike,
    teacher: ArrayLike,
    where: ArrayLike | None,
) -> Paired:
    """Pairs features as `paired_features` does, where maps may differ in height and width.

    The larger of two maps is pooled to the size of the smaller, in float32 at least; all other
    features must have the same shape.

    Args:
      student: features `[batch, ..., channels]`.
      teacher: features of the same shape, except for the size of maps.
      where: boolean `[batch]`, or None.

    Returns:
      The pair, of one shape.

    Raises:
      TypeError: `SparseLogits`.
      ValueError: shapes or a mask that do not fit.
    """
    pair = paired_features(student, teacher, where, same_shape=False)
    first, second = pair.student, pair.teacher
    if first.ndim == second.ndim == 4:
        first, second = to_common_size(first, second)
    if first.shape != second.shape:
        raise ValueError(
            f"student features have shape {pair.student.shape}, teacher features "
            f"{pair.teacher.shape}: put a connector on the student that maps its features to the "
            "teacher's; only height and width of maps may differ, and are then pooled"
        )
    return pair._replace(student=first, teacher=second)


def paired_positions(
    student: ArrayLike,
    teacher: ArrayLike,
    where: ArrayLike | None,
    *,
    same_channels: bool,
    pool: bool = True,
) -> Paired:
    """Pairs features as `paired_features` does, as `[batch, positions, channels]`.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`.
      teacher: maps or tokens.
      where: boolean `[batch]`, or None.
      same_channels: whether the numbers of channels must be equal.
      pool: whether both must have the same positions: the larger of two maps is pooled to the size
        of the smaller, and numbers of tokens must be equal.

    Returns:
      The pair, `[batch, positions, channels]` each.

    Raises:
      TypeError: `SparseLogits`.
      ValueError: shapes or a mask that do not fit.
    """
    pair = paired_features(student, teacher, where, same_shape=False)
    both = f"student {pair.student.shape} and teacher {pair.teacher.shape}"
    if not {pair.student.ndim, pair.teacher.ndim} <= {3, 4}:
        raise ValueError(
            "features must be maps [batch, height, width, channels] or tokens "
            f"[batch, tokens, width], got {both}"
        )
    if same_channels and pair.student.shape[-1] != pair.teacher.shape[-1]:
        raise ValueError(
            f"features must have the same number of channels, got {both}: put a connector on the "
            "student that maps its channels to the teacher's"
        )
    if pool:
        pair = pair._replace(**dict(zip(("student", "teacher"), _pooled(*pair[:2]), strict=True)))
    return pair._replace(student=positions(pair.student), teacher=positions(pair.teacher))


def common_positions(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pools two features of a batch to the smaller size, as `[batch, positions, channels]`."""
    first, second = _pooled(first, second)
    return positions(first), positions(second)


def positions(features: jax.Array) -> jax.Array:
    """Reshapes features `[batch, ..., channels]` to `[batch, positions, channels]`."""
    return features.reshape(features.shape[0], -1, features.shape[-1])


def rescaled(features: jax.Array) -> jax.Array:
    """Divides each example by its largest magnitude, for losses that do not depend on scale.

    Powers and products of the result cannot overflow. The factor counts as a constant in the
    gradient, which is exact for any function that does not depend on the factor.

    Returns:
      Features of the same shape, of magnitude 1 at most.
    """
    axes = tuple(range(1, features.ndim))
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(features), axis=axes, keepdims=True))
    return features / jnp.where(scale > 0, scale, 1)


def clear_difference(first: jax.Array, second: jax.Array) -> jax.Array:
    """Computes `first - second`, with 0 for differences that may be rounding errors.

    At the kink of a norm or a magnitude the gradient would be the sign of the rounding error.

    Returns:
      The difference, of the shape of its operands.
    """
    difference = first - second
    rounding = 16 * jnp.finfo(difference.dtype).eps
    clear = jnp.abs(difference) > rounding * jnp.maximum(jnp.abs(first), jnp.abs(second))
    return jnp.where(clear, difference, 0)


def check_power(name: str, power: ArrayLike) -> None:
    """Raises ValueError unless a concrete `power` is 1 or more."""
    value = concrete_value(power)
    if value is not None and not value >= 1:
        raise ValueError(f"{name} must be 1 or more, got {value}: below, gradients are infinite")


def _pooled(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pools the larger of two maps to the size of the smaller; ValueError unless tokens match."""
    if first.ndim == second.ndim == 4:
        return to_common_size(first, second)
    if first.ndim != second.ndim or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"features of shapes {first.shape} and {second.shape} have no positions in common: two "
            "maps are pooled to the smaller size, the numbers of tokens must be equal"
        )
    return first, second
