"""Cosine distance of hidden states, one loss per token (DistilBERT)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import unit
from jaxkd.losses.language._tokens import paired_states


def hidden_cosine(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the cosine distance `1 - cos` of each token's hidden states.

    A state of zeros has no direction: it counts 1, or 0 if both sides are zero, without gradient.

    Args:
      student: hidden states `[..., width]`, for instance `[batch, tokens, width]`.
      teacher: hidden states of the same shape.
      where: boolean `[...]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token, `[...]`, between 0 and 2, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
      >>> losses.hidden_cosine(student, jnp.array([[[5.0, 0.0], [0.0, 5.0]]]))
      Array([[0., 1.]], dtype=float32)

    References:
      Sanh et al., DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter,
      2019.
    """
    pair = paired_states(student, teacher, where)
    unit_student, has_student = unit(pair.student)
    unit_teacher, has_teacher = unit(pair.teacher)
    # Half the squared distance of unit vectors is 1 - cos, exactly 0 where they are equal.
    distance = 0.5 * jnp.sum(jnp.square(unit_student - unit_teacher), axis=-1)
    return pair.finish(jnp.where(has_student & has_teacher, distance, has_student ^ has_teacher))
