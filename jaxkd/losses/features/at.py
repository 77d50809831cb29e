"""Attention transfer: the positions at which a network is active."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import unit
from jaxkd.losses._numerics import safe_sqrt
from jaxkd.losses.features._positions import (
    check_power,
    clear_difference,
    paired_positions,
    rescaled,
)


def at(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    p: float = 2,
    squared: bool = True,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes attention transfer, the squared distance of normalized attention maps.

    The attention of a position is the mean of `|features|**p` over its channels. An example's
    attention map is divided by its L2 norm, so that neither scale nor number of channels matters.
    Of two maps the larger is first pooled to the size of the smaller.

    As in the authors' code, the loss is the mean over positions of the squared differences (weight
    1000 beside the label's cross entropy, summed over stages). The paper writes the L2 norm
    instead, `squared=False`, whose gradient keeps its size near the teacher and is taken as 0 at
    it. The authors' code raises the features to the power without the paper's absolute value, which
    differs for odd `p` and negative features. An example of zeros has no attention and no gradient.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`.
      teacher: features of the same kind, with any number of channels; maps of any size, the same
        number of tokens.
      p: power of the magnitudes, 1 or more; larger values emphasize the largest features.
      squared: whether to take the mean of squares of the difference, instead of its L2 norm.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: shapes without common positions, a power below 1, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> left, right = jnp.array([[[3.0], [0.0]]]), jnp.array([[[0.0], [-5.0]]])
      >>> losses.at(left, right)
      Array([1.], dtype=float32)
      >>> losses.at(left, 2 * left)
      Array([0.], dtype=float32)

    References:
      Zagoruyko and Komodakis, Paying More Attention to Attention: Improving the Performance of
      Convolutional Neural Networks via Attention Transfer, ICLR 2017.
    """
    check_power("p", p)
    pair = paired_positions(student, teacher, where, same_channels=False)
    squares = jnp.square(clear_difference(*(_attention(features, p) for features in pair[:2])))
    if squared:
        return pair.finish(jnp.mean(squares, axis=-1))
    return pair.finish(safe_sqrt(jnp.sum(squares, axis=-1)))


def _attention(features: jax.Array, p: float) -> jax.Array:
    """Returns normalized attention maps `[batch, positions]`."""
    return unit(jnp.mean(jnp.abs(rescaled(features)) ** p, axis=-1))[0]
