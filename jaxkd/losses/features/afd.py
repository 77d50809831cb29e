"""Attention-based feature matching: all pairs of layers, weighted by trained attention.

The attention comes from a connector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import flat, paired_features, unit
from jaxkd.losses.features._layers import check_tuple, checked_attention, weighted_sum
from jaxkd.losses.features._positions import rescaled
from jaxkd.ops import adaptive_average_pool


def afd(
    student: Sequence[ArrayLike],
    teacher: Sequence[ArrayLike],
    *,
    attention: ArrayLike,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes attention-based feature matching of the saliency maps of all pairs of layers.

    The saliency map of a layer is the mean of squares over channels, pooled to the size of the
    teacher's layer and divided by its L2 norm over positions. The mean over positions of squared
    differences is multiplied by the example's attention to the pair and summed over pairs. As in
    the authors' code, whose weights are 50 to 200. A map of zeros stays zero, without gradient.

    Args:
      student: one map `[batch, height, width, channels]` for each layer, of any sizes.
      teacher: one map for each layer; numbers of layers and channels may differ from the student's.
      attention: weights `[batch, teacher layers, student layers]`; each row of an example sums to
        1. The gradient flows to it.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

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
    check_tuple("student", student, "one map for each student layer")
    check_tuple("teacher", teacher, "one map for each teacher layer")
    paired = partial(
        paired_features,
        where=where,
        same_shape=False,
        rank=4,
    )
    layers = [paired(layer, teacher[0]) for layer in student]
    energies = [_energy(pair.student) for pair in layers]
    targets = [_energy(paired(student[0], target).teacher) for target in teacher]
    shape = (energies[0].shape[0], len(targets), len(energies))
    weights = checked_attention(attention, shape, layers[0].rows)
    distances = [
        jnp.mean(jnp.square(_saliency(energy, target) - _saliency(target, target)), axis=-1)
        for target in targets
        for energy in energies
    ]
    return layers[0].finish(weighted_sum(weights, distances))


def _energy(maps: jax.Array) -> jax.Array:
    """Returns the mean of squares over channels, `[batch, height, width, 1]`, up to a factor."""
    return jnp.mean(jnp.square(rescaled(maps)), axis=-1, keepdims=True)


def _saliency(energy: jax.Array, like: jax.Array) -> jax.Array:
    """Returns unit vectors `[batch, positions]` of energies pooled to the size of `like`."""
    _, height, width, _ = like.shape
    return unit(flat(adaptive_average_pool(energy, (height, width))))[0]
