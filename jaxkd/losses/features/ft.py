"""Factor transfer: features encoded by a translator and a paraphraser."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import flat, unit
from jaxkd.losses.features._positions import (
    check_power,
    clear_difference,
    paired_positions,
    rescaled,
)


def ft(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    p1: int = 2,
    p2: float = 1,
    flatten: bool = False,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes factor transfer, the mean of `|difference|**p2` of normalized factors.

    The factors are the outputs of the student's translator and of the teacher's paraphraser, an
    autoencoder that is trained beforehand. Of two maps the larger is first pooled to the size of
    the smaller.

    As in the code of the CRD benchmark, which most follow, a factor is averaged over its channels,
    `mean(factor**p1)`, and the map that remains is divided by its L2 norm (weight 200 beside the
    label's cross entropy). The paper divides the whole factor, channels and positions, by its norm:
    `flatten=True`, which does not use `p1`. Some implementations of this form take the sum or the
    p-norm of the difference instead of the mean; with `size` elements the p-norm is
    `(size * loss)**(1 / p2)`.

    Args:
      student: the translator's maps `[batch, height, width, channels]` or tokens
        `[batch, tokens, width]`.
      teacher: the paraphraser's maps of any size, or tokens; with any number of channels unless
        `flatten`.
      p1: integer power of the features in the average over channels; an odd one keeps their sign.
      p2: power of the differences, 1 or more.
      flatten: whether to compare channels one by one instead of their average.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: shapes that do not fit, powers below 1, a `p1` that is not an integer, a mask that
        is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[[1.0, 3.0], [0.0, 0.0]]]), jnp.array([[[0.0], [2.0]]])
      >>> losses.ft(student, teacher)
      Array([1.], dtype=float32)
      >>> flipped = student[..., ::-1]
      >>> losses.ft(student, flipped), losses.ft(student, flipped, flatten=True) > 0
      (Array([0.], dtype=float32), Array([ True], dtype=bool))

    References:
      Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer,
      NeurIPS 2018.
    """
    check_power("p1", p1)
    check_power("p2", p2)
    if p1 != int(p1):
        raise ValueError(f"p1 must be a whole number, got {p1}: features may be negative")
    pair = paired_positions(student, teacher, where, same_channels=flatten)
    if flatten:
        factors = [unit(flat(features))[0] for features in pair[:2]]
    else:
        factors = [
            unit(jnp.mean(rescaled(features) ** int(p1), axis=-1))[0] for features in pair[:2]
        ]
    return pair.finish(jnp.mean(jnp.abs(clear_difference(*factors)) ** p2, axis=-1))
