"""Distillation by the Pearson correlation of features, channel by channel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import mask_rows
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._numerics import safe_sqrt
from jaxkd.losses.features._positions import paired_maps, positions


@couples_examples
def pkd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes PKD, half the mean squared difference of standardized features.

    Each channel is standardized over batch and positions, with the unbiased deviation plus 1e-6 as
    in the authors' code; the loss is then nearly `1 - correlation`, the Pearson correlation
    averaged over channels. It couples the examples of the batch. A channel that is constant over
    the batch has no correlation: it counts as zeros and has no gradient, where the plain formula
    divides by 1e-6.

    Args:
      student: features `[batch, ..., channels]`.
      teacher: features of the same shape; of two maps of different height or width the larger is
        pooled to the size of the smaller.
      where: boolean `[batch]`, the examples that count; the loss is 0 if there are none.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: shapes that differ or have no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[0.0, 0.0], [1.0, 3.0], [5.0, 1.0]])
      >>> print(f"{losses.pkd(student, 7 * student + 2):.4f}")
      0.0000

    References:
      Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation
      Coefficient, NeurIPS 2022.
    """
    pair = paired_maps(student, teacher, where)
    num_positions = positions(pair.student).shape[1]
    examples = pair.student.shape[0] if pair.rows is None else jnp.sum(pair.rows)
    count = jnp.maximum(jnp.asarray(examples * num_positions, pair.student.dtype), 1)
    standardized = [_standardized(positions(x), pair.rows, count) for x in pair[:2]]
    squares = jnp.sum(jnp.square(standardized[0] - standardized[1]))
    return 0.5 * squares / (count * pair.student.shape[-1])


def _standardized(features: jax.Array, rows: jax.Array | None, count: jax.Array) -> jax.Array:
    """Returns features `[batch, positions, channels]` less the mean, over the deviation plus 1e-6.

    Rows that do not count, and channels that are constant over the others, become zeros.
    """
    selected = True if rows is None else rows[:, None, None]
    highest, lowest = (
        extreme(features, axis=(0, 1), where=selected, initial=initial)
        for extreme, initial in ((jnp.max, -jnp.inf), (jnp.min, jnp.inf))
    )
    centered = mask_rows(features - jnp.sum(features, axis=(0, 1)) / count, rows)
    # Detected by comparison, since the rounded mean of equal values need not equal them.
    centered = jnp.where(highest > lowest, centered, 0)
    variance = jnp.sum(jnp.square(centered), axis=(0, 1)) / jnp.maximum(count - 1, 1)
    return centered / (safe_sqrt(variance) + 1e-6)
