"""Losses that compare features of the same shape, one number an example."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, compute_dtype
from jaxkd.losses._numerics import Paired, dense

_NOT_LOGITS = "it stands for a distribution over classes, not for features"


def feature_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Hint loss: the mean of squared differences over all axes but the batch.

    The mean, without the factor 1/2 of the paper.

    Args:
      student: `[batch, ...]`, for instance maps `[batch, height, width, channels]`, tokens
        `[batch, tokens, width]` or vectors `[batch, width]`; widths must match the teacher's, which
        is what a connector is for.
      teacher: of the same shape.
      where: boolean `[batch]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch]`, float32 at least.

    Raises:
      ValueError: shapes that differ or have no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.feature_mse(jnp.zeros((2, 3, 3, 8)), jnp.full((2, 3, 3, 8), 2.0))
      Array([4., 4.], dtype=float32)

    References:
      Romero et al., FitNets: Hints for Thin Deep Nets, 2015.
    """
    pair = _paired_features(student, teacher, where, teacher_gradient)
    squares = jnp.square(pair.student - pair.teacher)
    return pair.finish(jnp.mean(squares, axis=tuple(range(1, squares.ndim))))


def feature_cosine(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Cosine distance `1 - cos(student, teacher)` along the feature axis.

    Averaged over the other axes but the batch. A row of zeros has no direction: it counts 1, or 0
    if both sides are zero, and has no gradient.

    Args:
      student: `[batch, ...]`, as for `feature_mse`.
      teacher: of the same shape.
      axis: the feature axis, not the batch's.
      where: boolean `[batch]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch]`, between 0 and 2, float32 at least.

    Raises:
      ValueError: shapes that differ or have no feature axis, an axis that is the batch's or out of
        range, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
      >>> losses.feature_cosine(student, jnp.array([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]]))
      Array([0., 1., 2.], dtype=float32)

    References:
      Chen and He, Exploring Simple Siamese Representation Learning, 2021, uses the same distance.
    """
    pair = _paired_features(student, teacher, where, teacher_gradient)
    rank = pair.student.ndim
    if not -rank <= axis < rank or axis % rank == 0:
        raise ValueError(
            f"axis must be a feature axis of features of shape {pair.student.shape}, the first of "
            f"which is the batch: got {axis}"
        )
    unit_student, has_student = _unit(pair.student, axis)
    unit_teacher, has_teacher = _unit(pair.teacher, axis)
    # Half the squared distance of unit vectors is 1 - cos, exactly 0 where they are equal.
    distance = 0.5 * jnp.sum(jnp.square(unit_student - unit_teacher), axis=axis)
    distance = jnp.where(has_student & has_teacher, distance, has_student ^ has_teacher)
    return pair.finish(jnp.mean(distance, axis=tuple(range(1, distance.ndim))))


def _unit(features: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Rows divided by their length, and which rows have one; a zero row stays, without gradient."""
    # The cosine does not depend on the scale; the squares, which may over- or underflow, do.
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(features), axis=axis, keepdims=True))
    nonzero = scale > 0
    features = jnp.where(nonzero, features, 1) / jnp.where(nonzero, scale, 1)
    length = jnp.sqrt(jnp.sum(jnp.square(features), axis=axis, keepdims=True))
    return features / length, jnp.squeeze(nonzero, axis)


def _paired_features(
    student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None, teacher_gradient: bool
) -> Paired:
    student, teacher = (
        dense("student", student, _NOT_LOGITS),
        dense("teacher", teacher, _NOT_LOGITS),
    )
    if student.shape != teacher.shape:
        raise ValueError(
            f"student features have shape {student.shape}, teacher features {teacher.shape}: put a "
            "connector on the student that maps its features to the teacher's shape"
        )
    if student.ndim < 2:
        raise ValueError(f"features are [batch, ...] with a feature axis, got {student.shape}")
    dtype = compute_dtype(student, teacher)
    student, teacher = student.astype(dtype), teacher.astype(dtype)
    if not teacher_gradient:
        teacher = jax.lax.stop_gradient(teacher)
    if where is None:
        return Paired(student, teacher)
    if jnp.ndim(where) != 1:
        raise ValueError(
            f"where must be a mask of examples [batch], got shape {jnp.shape(where)} for features "
            f"of shape {student.shape}"
        )
    batch = student.shape[:1]
    rows = jnp.broadcast_to(as_mask(where, batch, "the batch"), batch)
    keep = rows.reshape(batch + (1,) * (student.ndim - 1))
    return Paired(jnp.where(keep, student, 0), jnp.where(keep, teacher, 0), rows)
