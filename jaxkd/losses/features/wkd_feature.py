"""Wasserstein distance between normal distributions of the two networks' features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive, concrete_value
from jaxkd.losses._feature_pairs import as_features
from jaxkd.losses.features._positions import paired_positions


def wkd_feature(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    mean_weight: ArrayLike = 4.0,
    grid: int = 1,
    epsilon: float = 1e-5,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the Wasserstein distance of the channels' means and deviations over positions.

    The loss is `mean_weight * sum((mean_s - mean_t)**2) + sum((std_s - std_t)**2)` over channels:
    for `mean_weight` 1 the squared Wasserstein distance of normal distributions with diagonal
    covariances. As in the authors' code `std = sqrt(var + epsilon)` with the unbiased variance;
    with `grid` above 1 both are taken in `grid x grid` cells of the map, with the bins of adaptive
    pooling, and the cells' losses averaged. A cell of one position has no variance: it counts as 0
    here, where the unbiased estimate of the authors' code is NaN.

    Args:
      student: maps `[batch, height, width, channels]`, or tokens `[batch, tokens, width]` with a
        `grid` of 1.
      teacher: features with the student's number of channels; maps of any size.
      mean_weight: non-negative weight of the means' part.
      grid: number of cells along height and along width.
      epsilon: positive number that is added to variances.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: numbers of channels that differ, features that are neither maps nor tokens, tokens
        with a grid, a grid below 1, an epsilon or weight out of range, a mask that is not
        `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.wkd_feature(jnp.zeros((1, 4, 4, 3)), jnp.full((1, 2, 2, 3), 2.0), mean_weight=1.0)
      Array([12.], dtype=float32)

    References:
      Lv, Yang and Li, Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge
      Distillation, NeurIPS 2024.
    """
    weight = concrete_value(mean_weight)
    if weight is not None and not weight >= 0:
        raise ValueError(f"mean_weight must not be negative, got {weight}")
    check_positive("epsilon", epsilon)
    shapes = [features.shape for features in as_features(student, teacher)]
    if grid < 1 or (grid > 1 and any(len(shape) != 4 for shape in shapes)):
        raise ValueError(
            f"grid must be 1, or more for maps [batch, height, width, channels]: got {grid} for "
            f"student {shapes[0]} and teacher {shapes[1]}"
        )
    # Checks the pair; cells are cut from the maps below, each side's from its own size.
    pair = paired_positions(student, teacher, where, same_channels=True, pool=False)
    mean_weight = jnp.asarray(mean_weight, pair.student.dtype)
    sides = []
    for features, shape in zip(pair[:2], shapes, strict=True):
        maps = features.reshape(shape if len(shape) == 4 else (*shape[:2], 1, shape[2]))
        sides.append([_moments(cell, epsilon) for cell in _cells(maps, grid)])
    losses = [
        mean_weight * jnp.sum(jnp.square(mean_s - mean_t), axis=-1)
        + jnp.sum(jnp.square(std_s - std_t), axis=-1)
        for (mean_s, std_s), (mean_t, std_t) in zip(*sides, strict=True)
    ]
    return pair.finish(sum(losses[1:], losses[0]) / len(losses))


def _cells(maps: jax.Array, grid: int) -> list[jax.Array]:
    """Returns the `grid * grid` cells of maps, with the bins of `adaptive_average_pool`."""
    rows, columns = (
        [slice(i * size // grid, -(-(i + 1) * size // grid)) for i in range(grid)]
        for size in maps.shape[1:3]
    )
    return [maps[:, row, column] for row in rows for column in columns]


def _moments(cell: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    """Returns means and standard deviations `[batch, channels]` of a cell."""
    mean = jnp.mean(cell, axis=(1, 2), keepdims=True)
    squares = jnp.sum(jnp.square(cell - mean), axis=(1, 2))
    freedom = max(cell.shape[1] * cell.shape[2] - 1, 1)
    return mean[:, 0, 0], jnp.sqrt(squares / freedom + epsilon)
