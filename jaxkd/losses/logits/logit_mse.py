"""Regression of the teacher's logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import dense, paired_logits


def logit_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the mean over classes of the squared differences of the logits.

    There is no factor 1/2 as in Ba and Caruana, and the logits are taken as they are: a constant
    added to all logits of a row, which leaves the softmax as it is, has a cost. There is no
    temperature, which would only scale the result. Classes whose teacher logit is -inf are left out
    of the mean.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the mean is over the selected
        ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank.
      TypeError: `SparseLogits`, whose logits are not all known.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.logit_mse(jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 1.0]]))
      Array([2.5], dtype=float32)

    References:
      Ba and Caruana, Do Deep Nets Really Need to be Deep?, 2014.
    """
    teacher = dense(
        "teacher",
        teacher,
        "it holds k logits up to a constant and the mass of the others, so the others have no "
        "target; use a divergence, or store dense logits",
    )
    pair = paired_logits(student, teacher, 1.0, axis, where, softmax=False)
    present = ~jnp.isneginf(pair.teacher)
    difference = jnp.where(present, pair.student, 0) - jnp.where(present, pair.teacher, 0)
    count = jnp.maximum(jnp.sum(present, axis=-1, dtype=difference.dtype), 1)
    return pair.finish(jnp.sum(jnp.square(difference), axis=-1) / count)
