"""Semantic calibration: all pairs of a student and a teacher layer, weighted by attention.

The attention and the projections are trained and come from a connector.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import flat, paired_features
from jaxkd.losses.features._layers import check_tuple, checked_attention, weighted_sum


def semckd(
    student: Sequence[Sequence[ArrayLike]],
    teacher: Sequence[Sequence[ArrayLike]],
    *,
    attention: ArrayLike,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes semantic calibration, squared differences of all pairs of layers with attention.

    The mean over positions and channels of each pair is multiplied by the example's attention to
    the pair, summed over pairs and divided by the number of student layers. As in the authors'
    code, whose weight is 400.

    Args:
      student: features by student and teacher layer: `student[i][j]` `[batch, ...]` is layer i of
        the student, projected for layer j of the teacher.
      teacher: features by student and teacher layer: `teacher[i][j]` is layer j of the teacher,
        resized to the shape of `student[i][j]`.
      attention: weights `[batch, student layers, teacher layers]`; each row of an example sums to
        1. The gradient flows to it.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: numbers of layers that differ, shapes of a pair that differ, attention of another
        shape, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = ((jnp.zeros((1, 3)), jnp.zeros((1, 2))),)
      >>> teacher = ((jnp.ones((1, 3)), jnp.full((1, 2), 2.0)),)
      >>> losses.semckd(student, teacher, attention=jnp.array([[[0.5, 0.5]]]))
      Array([2.5], dtype=float32)

    References:
      Chen et al., Cross-Layer Distillation with Semantic Calibration, AAAI 2021.
    """
    check_tuple("student", student, "one tuple for each student layer")
    check_tuple("teacher", teacher, "one tuple for each student layer", len(student))
    check_tuple("student[0]", student[0], "one array for each teacher layer")
    targets = len(student[0])
    distances = []
    for index, (row, target_row) in enumerate(zip(student, teacher, strict=True)):
        for name, layers in (("student", row), ("teacher", target_row)):
            check_tuple(f"{name}[{index}]", layers, f"{targets} arrays", targets)
        for layer, target in zip(row, target_row, strict=True):
            pair = paired_features(layer, target, where)
            squares = jnp.square(flat(pair.student) - flat(pair.teacher))
            distances.append(jnp.mean(squares, axis=-1))
    weights = checked_attention(
        attention, (distances[0].shape[0], len(student), targets), pair.rows
    )
    return pair.finish(weighted_sum(weights, distances) / len(student))
