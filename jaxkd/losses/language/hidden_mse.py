"""Squared differences of hidden states, one number a token."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses.language._tokens import paired_states


def hidden_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The mean of squared differences of each token's hidden states.

    `feature_mse` gives one number an example and takes padding in; this one is for tokens. Also for
    embeddings.

    Args:
      student: `[..., width]`, for instance `[batch, tokens, width]`; the width is the teacher's,
        which is what a connector is for.
      teacher: of the same shape.
      where: boolean `[...]`; the loss is 0 where False.

    Returns:
      `[...]`, one loss a token, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.zeros((1, 3, 8)), jnp.full((1, 3, 8), 2.0)
      >>> losses.hidden_mse(student, teacher, where=jnp.array([[True, True, False]]))
      Array([[4., 4., 0.]], dtype=float32)

    References:
      Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
      2020.
    """
    pair = paired_states(student, teacher, where)
    return pair.finish(jnp.mean(jnp.square(pair.student - pair.teacher), axis=-1))
