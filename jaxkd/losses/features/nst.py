"""Neuron selectivity transfer: the distribution of the channels' activation patterns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import unit
from jaxkd.losses.features._positions import paired_positions


def nst(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes neuron selectivity transfer, the maximum mean discrepancy of sets of channels.

    The discrepancy is squared. Each channel's map, divided by its L2 norm over positions, is one
    sample; the kernel is `(a . b)**2`. The loss is the mean kernel within the student, plus that
    within the teacher, minus twice the mean kernel across, as in the authors' code (weight 50
    beside the label's cross entropy, summed over stages). The teacher's term is part of the value,
    so that the loss is 0 where the two sets of channels are equal, in any order. A channel of zeros
    stays zero, without gradient. Of two maps the larger is first pooled to the size of the smaller.

    For this kernel the discrepancy is the squared Frobenius distance between the second moments
    `mean_c(a_c a_c^T)` of the two sets. Beside arrays of the size of the maps, an example needs one
    matrix `positions x positions`, or three `channels x channels` where there are fewer channels
    than positions; never a product of all pairs of channels at all positions.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`.
      teacher: features of the same kind, with any number of channels; maps of any size, the same
        number of tokens.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: shapes without common positions, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> left, right = jnp.array([[[1.0], [0.0]]]), jnp.array([[[0.0], [1.0]]])
      >>> losses.nst(left, right)
      Array([2.], dtype=float32)
      >>> both = jnp.concatenate([left, right], axis=-1)
      >>> print(f"{losses.nst(both, 3 * both[..., ::-1])[0]:.4f}")
      0.0000

    References:
      Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017.
    """
    pair = paired_positions(student, teacher, where, same_channels=False)
    channels = max(pair.student.shape[-1], pair.teacher.shape[-1])
    # Scaled so that the second moment is a sum; channels of zeros then add nothing to it.
    samples = [
        jnp.pad(
            unit(features, axis=1)[0] / jnp.sqrt(jnp.asarray(features.shape[-1], features.dtype)),
            ((0, 0), (0, 0), (0, channels - features.shape[-1])),
        )
        for features in pair[:2]
    ]
    # s s^T - t t^T is the symmetric part of d m^T: a small difference is never one of large sums.
    difference, total = samples[0] - samples[1], samples[0] + samples[1]
    if difference.shape[1] <= channels:
        product = jnp.einsum("bpc,bqc->bpq", difference, total)
        moments = 0.5 * (product + jnp.matrix_transpose(product))
        return pair.finish(jnp.sum(jnp.square(moments), axis=(1, 2)))

    def gram(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum("bpc,bpd->bcd", a, b)

    mixed = gram(difference, total)
    terms = gram(difference, difference) * gram(total, total) + mixed * jnp.matrix_transpose(mixed)
    return pair.finish(0.5 * jnp.sum(terms, axis=(1, 2)))
