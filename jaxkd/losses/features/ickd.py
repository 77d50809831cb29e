"""Inter-channel correlation: which channels respond together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import unit
from jaxkd.losses.features._positions import paired_positions, rescaled


def ickd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes inter-channel correlation distillation, from products of all pairs of channels.

    The products of all pairs of channels are summed over positions, `[channels, channels]` an
    example, and each row is divided by its L2 norm. Squared differences are summed and divided by
    the number of channels, as in the authors' code. A channel of zeros has no direction: its row is
    zero, without gradient. Positions need not match, since they are summed over.

    Args:
      student: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`, behind a
        connector where numbers of channels differ.
      teacher: maps or tokens with the student's number of channels.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least. The authors average over the batch; other
      code divides by the batch size twice.

    Raises:
      ValueError: numbers of channels that differ, features that are neither maps nor tokens, a mask
        that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> separate, together = jnp.eye(2)[None], jnp.ones((1, 2, 2))
      >>> print(f"{losses.ickd(separate, together)[0]:.4f}")
      0.5858
      >>> print(f"{losses.ickd(separate, 3 * separate)[0]:.4f}")
      0.0000

    References:
      Liu et al., Exploring Inter-Channel Correlation for Diversity-preserved Knowledge
      Distillation, ICCV 2021.
    """
    pair = paired_positions(student, teacher, where, same_channels=True, pool=False)
    directions = [
        unit(jnp.einsum("bpc,bpd->bcd", scaled, scaled))[0] for scaled in map(rescaled, pair[:2])
    ]
    squares = jnp.sum(jnp.square(directions[0] - directions[1]), axis=(1, 2))
    return pair.finish(squares / pair.student.shape[-1])
