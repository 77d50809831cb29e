"""Losses between every layer of the student and every layer of the teacher, weighted by attention.

The attention is trained and comes from a connector, as do the projections of SemCKD.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import flat, mask_rows, paired_features, unit
from jaxkd.losses.features._positions import rescaled
from jaxkd.losses.features._several import check_several
from jaxkd.ops import adaptive_average_pool


def semckd(
    student: Sequence[Sequence[ArrayLike]],
    teacher: Sequence[Sequence[ArrayLike]],
    *,
    attention: ArrayLike,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Semantic calibration: squared differences of all pairs of layers, weighted by attention.

    The mean over positions and channels for each pair, times the example's attention to the pair,
    added up over pairs and divided by the number of student layers. As in the authors' code, whose
    weight is 400.

    Args:
      student: `student[i][j]` is layer i of the student projected for layer j of the teacher,
        `[batch, ...]`.
      teacher: `teacher[i][j]` is layer j of the teacher at the size of `student[i][j]`, of the same
        shape.
      attention: `[batch, student layers, teacher layers]`, each row of an example adding up to 1.
        It takes the gradient.
      where: boolean `[batch]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch]`, float32 at least.

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
    check_several("student", student, "one tuple for each student layer")
    check_several("teacher", teacher, "one tuple for each student layer", len(student))
    check_several("student[0]", student[0], "one array for each teacher layer")
    targets = len(student[0])
    distances = []
    for index, (row, target_row) in enumerate(zip(student, teacher, strict=True)):
        for name, layers in (("student", row), ("teacher", target_row)):
            check_several(f"{name}[{index}]", layers, f"{targets} arrays", targets)
        for layer, target in zip(row, target_row, strict=True):
            pair = paired_features(layer, target, where, teacher_gradient)
            squares = jnp.square(flat(pair.student) - flat(pair.teacher))
            distances.append(jnp.mean(squares, axis=-1))
    weights = _attention(attention, (distances[0].shape[0], len(student), targets), pair.rows)
    return pair.finish(_weighted(weights, distances) / len(student))


def afd(
    student: Sequence[ArrayLike],
    teacher: Sequence[ArrayLike],
    *,
    attention: ArrayLike,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Attention-based feature matching: where layers are active, compared in all pairs.

    The mean of squares over channels, pooled to the size of the teacher's layer and divided by its
    L2 norm over positions. The mean over positions of squared differences, times the example's
    attention to the pair, added up over pairs. As in the authors' code, whose weights are 50 to
    200. A map of zeros stays zero, without gradient.

    Args:
      student: one map `[batch, height, width, channels]` for each layer, of any sizes.
      teacher: likewise; numbers of layers and of channels may differ from the student's.
      attention: `[batch, teacher layers, student layers]`, each row of an example adding up to 1.
        It takes the gradient.
      where: boolean `[batch]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch]`, float32 at least.

    Raises:
      ValueError: no layers, features that are not maps, attention of another shape, a mask that is
        not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.ones((1, 4, 4, 3)), jnp.eye(2).reshape(1, 2, 2, 1)
      >>> teacher = (jnp.eye(2).reshape(1, 2, 2, 1),)
      >>> print(f"{losses.afd(student, teacher, attention=jnp.array([[[1.0, 0.0]]]))[0]:.4f}")
      0.1464

    References:
      Ji, Heo and Park, Show, Attend and Distill: Knowledge Distillation via Attention-based Feature
      Matching, AAAI 2021.
    """
    check_several("student", student, "one map for each student layer")
    check_several("teacher", teacher, "one map for each teacher layer")
    paired = partial(
        paired_features,
        where=where,
        teacher_gradient=teacher_gradient,
        same_shape=False,
        rank=4,
    )
    layers = [paired(layer, teacher[0]) for layer in student]
    energies = [_energy(pair.student) for pair in layers]
    targets = [_energy(paired(student[0], target).teacher) for target in teacher]
    shape = (energies[0].shape[0], len(targets), len(energies))
    weights = _attention(attention, shape, layers[0].rows)
    distances = [
        jnp.mean(jnp.square(_saliency(energy, target) - _saliency(target, target)), axis=-1)
        for target in targets
        for energy in energies
    ]
    return layers[0].finish(_weighted(weights, distances))


def _attention(
    attention: ArrayLike, shape: tuple[int, int, int], rows: jax.Array | None
) -> jax.Array:
    attention = jnp.asarray(attention)
    if attention.shape != shape:
        raise ValueError(
            f"attention must have the shape {shape} of batch and layers, got {attention.shape}"
        )
    return mask_rows(attention, rows)


def _weighted(weights: jax.Array, distances: list[jax.Array]) -> jax.Array:
    """The sum over pairs of layers, whose distances are in the order of the flat weights."""
    return jnp.sum(flat(weights) * jnp.stack(distances, axis=1), axis=1)


def _energy(maps: jax.Array) -> jax.Array:
    """Mean of squares over channels, `[batch, height, width, 1]`, up to a factor an example."""
    return jnp.mean(jnp.square(rescaled(maps)), axis=-1, keepdims=True)


def _saliency(energy: jax.Array, like: jax.Array) -> jax.Array:
    """Directions `[batch, positions]` of what is pooled to the size of `like`."""
    _, height, width, _ = like.shape
    return unit(flat(adaptive_average_pool(energy, (height, width))))[0]
