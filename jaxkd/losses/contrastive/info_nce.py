"""Contrast within the batch: which embedding of the teacher belongs to which of the student."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._feature_pairs import gathered, paired_features, unit


def info_nce(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 0.07,
    where: ArrayLike | None = None,
    learned_teacher: bool = False,
) -> jax.Array:
    """Computes InfoNCE: the cross entropy of identifying an example's teacher embedding.

    An example's logits are the cosines of its student embedding with the teacher embeddings of all
    examples, over the temperature; its label is its own position. The negatives are the other
    examples of the batch, of the whole batch where it is sharded; there is no bank. The student's
    embeddings are the queries and the teacher's the keys: for the symmetric form add the loss with
    the two exchanged.

    Args:
      student: embeddings `[batch, width]`, normalized here.
      teacher: embeddings `[batch, width]`.
      temperature: a positive scalar; may be traced.
      where: boolean `[batch]`; where False the loss is 0, and the example is no negative either.
      learned_teacher: whether `teacher` comes out of a layer that trains beside the student, and so
        receives a gradient.

    Returns:
      `[batch]`, not negative, float32 at least; 0 for a single example. A row of zeros has cosine 0
      with all rows and no gradient.

    Raises:
      ValueError: shapes that differ or are not `[batch, width]`, a mask that is not `[batch]`, a
        temperature that is not positive and finite.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[2.0, 0.0], [0.0, 1.0]])
      >>> print(f"{losses.info_nce(student, jnp.eye(2), temperature=1.0)[0]:.4f}")
      0.3133

    References:
      van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018.
    """
    check_temperature(temperature)
    pair = paired_features(student, teacher, where, rank=2, learned_teacher=learned_teacher)
    (queries, _), (keys, _) = unit(pair.student), unit(pair.teacher)
    positives = jnp.sum(queries * keys, axis=1, keepdims=True)
    cosines = jnp.matmul(queries, gathered(keys).T, precision=jax.lax.Precision.HIGHEST)
    # Relative to the positive, whose logit is exactly 0, so that the loss is never below 0.
    logits = (cosines - positives) / jnp.asarray(temperature, cosines.dtype)
    if pair.rows is not None:
        logits = jnp.where(gathered(pair.rows), logits, -jnp.inf)
    logits = jnp.where(jnp.eye(len(logits), dtype=bool), 0, logits)
    return pair.finish(jax.nn.logsumexp(logits, axis=1))
