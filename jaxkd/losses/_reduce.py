"""The one masked mean, made of a sum and a count, so that parts of a batch can be added up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask
from jaxkd.losses._numerics import compute_dtype


def masked_sum_and_count(
    values: ArrayLike, where: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    """Sums the selected values and counts them.

    Sums and counts of micro-batches, devices or hosts add up; divide once, at the end, and the mean
    does not depend on how the batch was cut or padded.

    Args:
      values: array of any shape; bfloat16 and float16 are summed in float32.
      where: boolean, broadcastable to `values`; what is not selected affects neither the result nor
        the gradient, even when it is NaN or infinite. None selects everything.

    Returns:
      `(sum, count)`, two scalars of the same floating dtype, float32 at least.

    Raises:
      ValueError: `where` is not boolean (or integer), or does not broadcast to `values`.

    Example:
      >>> total, count = masked_sum_and_count([1.0, 2.0, float("nan")], [True, True, False])
      >>> float(total), float(count)
      (3.0, 2.0)
    """
    values = jnp.asarray(values)
    values = values.astype(compute_dtype(values))
    if where is None:
        return jnp.sum(values), jnp.asarray(values.size, values.dtype)
    mask = jnp.broadcast_to(as_mask(where, values.shape, "values of shape"), values.shape)
    # Selecting before summing keeps a NaN out of the gradient too; multiplying by 0 would not.
    return jnp.sum(jnp.where(mask, values, 0)), jnp.sum(mask, dtype=values.dtype)


def masked_mean(values: ArrayLike, where: ArrayLike | None = None) -> jax.Array:
    """Averages the selected values; 0, with zero gradient, when nothing is selected.

    Args:
      values: array of any shape, for instance one loss an example.
      where: boolean, broadcastable to `values`. None selects everything.

    Returns:
      A scalar, float32 at least: `sum / count` of `masked_sum_and_count`.

    Raises:
      ValueError: `where` is not boolean (or integer), or does not broadcast to `values`.

    Example:
      >>> float(masked_mean([1.0, 2.0, float("nan")], [True, True, False]))
      1.5
      >>> float(masked_mean([1.0, 2.0], [False, False]))
      0.0
    """
    total, count = masked_sum_and_count(values, where)
    return total / jnp.maximum(count, 1)
