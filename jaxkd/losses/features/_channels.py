"""Losses that compare networks channel by channel: where each responds, and which go together."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._feature_pairs import mask_rows, unit
from jaxkd.losses._numerics import kl_to_mixture, safe_sqrt, temper
from jaxkd.losses.features._positions import paired_maps, paired_positions, positions, rescaled


def cwd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Channel-wise distillation: `temperature**2 * KL(teacher || student)` over positions.

    Each channel's map becomes a distribution over positions by a softmax at the given temperature;
    the loss is the mean over channels. The full divergence with the teacher's entropy, as in the
    authors' code, and averaged over the batch by the caller.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`.
      teacher: of the same shape; of two maps of different height or width the larger is pooled to
        the size of the smaller.
      temperature: positive scalar; may be traced.
      where: boolean `[batch]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch]`, float32 at least.

    Raises:
      ValueError: shapes that differ or have no positions, a temperature that is not positive and
        finite, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[[1.0], [0.0]]]), jnp.array([[[3.0], [0.0]]])
      >>> print(f"{losses.cwd(student, teacher, temperature=1.0)[0]:.3f}")
      0.170

    References:
      Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021.
    """
    check_temperature(temperature)
    pair = paired_maps(student, teacher, where, teacher_gradient)
    if pair.student.ndim < 3:
        raise ValueError(
            "features must be maps [batch, height, width, channels] or tokens "
            f"[batch, tokens, width], got {pair.student.shape}"
        )
    dtype = pair.student.dtype
    log_q, log_p = (
        jax.nn.log_softmax(temper(jnp.matrix_transpose(positions(x)), temperature, dtype))
        for x in pair[:2]
    )
    divergence = jnp.mean(kl_to_mixture(log_p, log_q, 0.0), axis=-1)
    return pair.finish(jnp.square(jnp.asarray(temperature, dtype)) * divergence)


def pkd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Distillation by Pearson correlation: half the mean squared difference of standard features.

    Each channel is standardized over batch and positions, with the unbiased deviation plus 1e-6 as
    in the authors' code; the loss is then nearly `1 - correlation`, averaged over channels. Couples
    the examples of the batch: a scalar. A channel that is constant over the batch has nothing to
    correlate with: it counts as zeros and has no gradient, where the plain formula divides by 1e-6.

    Args:
      student: `[batch, ..., channels]`.
      teacher: of the same shape; of two maps of different height or width the larger is pooled to
        the size of the smaller.
      where: boolean `[batch]`; the loss is that of the selected examples alone, 0 if there are
        none.
      teacher_gradient: whether the gradient flows to the teacher.

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
    pair = paired_maps(student, teacher, where, teacher_gradient)
    places = positions(pair.student).shape[1]
    examples = pair.student.shape[0] if pair.rows is None else jnp.sum(pair.rows)
    count = jnp.maximum(jnp.asarray(examples * places, pair.student.dtype), 1)
    standard = [_standardized(positions(x), pair.rows, count) for x in pair[:2]]
    squares = jnp.sum(jnp.square(standard[0] - standard[1]))
    return 0.5 * squares / (count * pair.student.shape[-1])


def ickd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Inter-channel correlation: squared differences of which channels respond together.

    The products of all pairs of channels over positions, `[channels, channels]` an example, each
    row divided by its L2 norm; squared differences are added up and divided by the number of
    channels, as in the authors' code. A channel of zeros has no direction: its row is zero, without
    gradient. Positions need not match, since they are summed away.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`, behind a
        connector where numbers of channels differ.
      teacher: likewise, with the student's number of channels.
      where: boolean `[batch]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[batch]`, float32 at least; authors average it over the batch, others divide by it twice.

    Raises:
      ValueError: numbers of channels that differ, features that are neither maps nor tokens, a mask
        that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> apart, together = jnp.eye(2)[None], jnp.ones((1, 2, 2))
      >>> print(f"{losses.ickd(apart, together)[0]:.4f}, {losses.ickd(apart, 3 * apart)[0]:.4f}")
      0.5858, 0.0000

    References:
      Liu et al., Exploring Inter-Channel Correlation for Diversity-preserved Knowledge
      Distillation, ICCV 2021.
    """
    pair = paired_positions(
        student, teacher, where, teacher_gradient, same_channels=True, pool=False
    )
    directions = [
        unit(jnp.einsum("bpc,bpd->bcd", scaled, scaled))[0] for scaled in map(rescaled, pair[:2])
    ]
    squares = jnp.sum(jnp.square(directions[0] - directions[1]), axis=(1, 2))
    return pair.finish(squares / pair.student.shape[-1])


def _standardized(features: jax.Array, rows: jax.Array | None, count: jax.Array) -> jax.Array:
    """Channels of `[batch, positions, channels]` less their mean, over their deviation plus 1e-6.

    Zeros in rows that take no part and in channels that are constant over the others.
    """
    taking_part = True if rows is None else rows[:, None, None]
    highest, lowest = (
        extreme(features, axis=(0, 1), where=taking_part, initial=initial)
        for extreme, initial in ((jnp.max, -jnp.inf), (jnp.min, jnp.inf))
    )
    centered = mask_rows(features - jnp.sum(features, axis=(0, 1)) / count, rows)
    # By comparison: the rounded mean of equal values need not equal them.
    centered = jnp.where(highest > lowest, centered, 0)
    variance = jnp.sum(jnp.square(centered), axis=(0, 1)) / jnp.maximum(count - 1, 1)
    return centered / (safe_sqrt(variance) + 1e-6)
