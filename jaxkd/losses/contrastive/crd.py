"""Contrastive representation distillation: an example's pair against rows of a memory bank."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._feature_pairs import mask_rows, paired_features
from jaxkd.ops.banks import checked, over_negatives, scores

# The authors' constant, added to the denominators of both probabilities.
_EPSILON = 1e-7


def crd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    student_bank: ArrayLike,
    teacher_bank: ArrayLike,
    ids: ArrayLike,
    negatives: ArrayLike,
    student_normalizer: ArrayLike,
    teacher_normalizer: ArrayLike,
    temperature: ArrayLike = 0.07,
    num_examples: int | None = None,
    where: ArrayLike | None = None,
    learned_teacher: bool = False,
) -> jax.Array:
    """Computes contrastive representation distillation (CRD) by noise-contrastive estimation.

    A student's embedding v scores a row b of the teacher's bank with `P = exp(b . v / T) / Z`. With
    K negatives out of N examples and `c = K / N`, the loss of an example is
    `-log(P / (P + c + 1e-7))` for its own row and `-log(c / (P + c + 1e-7))` for each negative,
    plus the same with student and teacher exchanged. It is computed from the logarithms of P, and
    from a few negatives at a time, also in the backward pass: no `[batch, K, width]` array is held.

    The banks and the normalizers are state that the caller keeps: `crd_normalizer` gives the latter
    from the first batch, and `update_bank` moves the banks after the loss is taken. The authors
    train the embedding on the teacher's side as well: that needs `learned_teacher=True`.

    Args:
      student: embeddings `[batch, width]`, L2-normalized.
      teacher: embeddings `[batch, width]`, L2-normalized.
      student_bank: `[N, width]`, L2-normalized rows, the same on every device; no gradient.
      teacher_bank: `[N, width]`, likewise.
      ids: integers `[batch]`, each example's own row of the banks.
      negatives: integers `[batch, K]`, rows of the banks, for instance from `sample_negatives`.
      student_normalizer: scalar, the logarithm of the student's Z: Z itself overflows float32 at
        temperatures below 0.012.
      teacher_normalizer: scalar, the logarithm of the teacher's Z.
      temperature: a positive scalar.
      num_examples: N, where the banks have more rows than there are examples.
      where: boolean `[batch]`; the loss is 0 where False.
      learned_teacher: whether `teacher` comes out of a layer that trains beside the student, and so
        receives a gradient.

    Returns:
      `[batch]`, float32 at least; NaN for an example with an id or a negative that no bank has.

    Raises:
      ValueError: shapes that do not fit, indices that are not integers, no negatives, a temperature
        that is not positive and finite.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> bank, ids, negatives = jnp.eye(3), jnp.array([0, 1]), jnp.array([[1, 2], [0, 2]])
      >>> student, teacher = bank[:2], bank[:2]
      >>> scores = dict(ids=ids, negatives=negatives, temperature=0.1)
      >>> log_z = losses.crd_normalizer(student, bank, **scores)
      >>> loss = losses.crd(
      ...     student, teacher, student_bank=bank, teacher_bank=bank,
      ...     student_normalizer=log_z, teacher_normalizer=log_z, **scores,
      ... )
      >>> print(f"{loss[0]:.3f} {loss[1]:.3f}")
      1.022 1.022

    References:
      Tian et al., Contrastive Representation Distillation, ICLR 2020; the authors' code.
    """
    check_temperature(temperature)
    pair = paired_features(student, teacher, where, rank=2, learned_teacher=learned_teacher)
    student_bank, ids, negatives = checked(pair.student, student_bank, ids, negatives)
    teacher_bank, _, _ = checked(pair.teacher, teacher_bank, ids, negatives)
    ids, negatives = mask_rows(ids, pair.rows), mask_rows(negatives, pair.rows)
    if student_bank.shape != teacher_bank.shape:
        raise ValueError(
            f"both banks must have one row for each example, got student_bank of shape "
            f"{student_bank.shape} and teacher_bank of shape {teacher_bank.shape}"
        )
    noise = negatives.shape[1] / (num_examples or len(student_bank))

    def loss_of_side(embeddings: jax.Array, bank: jax.Array, normalizer: ArrayLike) -> jax.Array:
        normalizer = jax.lax.stop_gradient(jnp.asarray(normalizer, embeddings.dtype))

        # The log-odds of the bank's row against noise, log P - log(c + epsilon).
        def log_odds(indices: jax.Array) -> jax.Array:
            log_p = scores(embeddings, bank, indices, temperature) - normalizer
            return log_p - jnp.log(jnp.asarray(noise + _EPSILON, log_p.dtype))

        def loss_of_negatives(indices: jax.Array) -> jax.Array:
            return jnp.sum(jax.nn.softplus(log_odds(indices)), axis=1)

        positive = jax.nn.softplus(-log_odds(ids[:, None]))[:, 0]
        negative = over_negatives(loss_of_negatives, jnp.add, negatives, embeddings.shape[1])
        return positive + negative

    losses = loss_of_side(pair.student, teacher_bank, student_normalizer) + loss_of_side(
        pair.teacher, student_bank, teacher_normalizer
    )
    # log((c + epsilon) / c), once for each negative and direction.
    return pair.finish(losses + 2 * negatives.shape[1] * jnp.log1p(_EPSILON / noise))
