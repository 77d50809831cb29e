"""Channel-wise distillation: the distribution of each channel over positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._numerics import kl_to_mixture, temper
from jaxkd.losses.features._positions import paired_maps, positions


def cwd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes channel-wise distillation, `temperature**2 * KL(teacher || student)` over positions.

    Each channel's map becomes a distribution over positions by a softmax at the given temperature;
    the loss is the mean over channels. As in the authors' code it is the full divergence, with the
    teacher's entropy; the caller averages over the batch.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`.
      teacher: features of the same shape; of two maps of different height or width the larger is
        pooled to the size of the smaller.
      temperature: positive scalar; may be traced.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

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
    pair = paired_maps(student, teacher, where)
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
