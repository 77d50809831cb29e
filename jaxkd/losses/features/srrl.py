"""Softmax regression representation learning: pooled features and their logits."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import paired_features
from jaxkd.losses.features._layers import check_tuple
from jaxkd.losses.features._positions import check_same_channels
from jaxkd.losses.logits.logit_mse import logit_mse
from jaxkd.ops.pooling import global_average


def srrl(
    student: Sequence[ArrayLike],
    teacher: Sequence[ArrayLike],
    *,
    weight: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes softmax regression representation learning, on pooled features and their logits.

    The loss is the mean over channels of squared differences of pooled features, plus `weight`
    times the mean over classes of squared differences of logits, where the student's logits are
    those of the teacher's classifier on the student's feature. As in the authors' code for
    ImageNet; other versions project pooled vectors, or take a divergence for the second term.

    Args:
      student: `(features, logits)`: features `[batch, ..., channels]`, behind a connector, and the
        logits `[batch, num_classes]` of the teacher's classifier on them.
      teacher: the teacher's `(features, logits)`; positions need not match, as they are averaged.
      weight: weight of the second term; 0 removes it.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: other than two elements a side, numbers of channels, classes or examples that
        differ, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.zeros((1, 4, 4, 8)), jnp.array([[1.0, 0.0]])
      >>> teacher = jnp.full((1, 2, 2, 8), 2.0), jnp.array([[3.0, 1.0]])
      >>> losses.srrl(student, teacher, weight=2.0)
      Array([9.], dtype=float32)

    References:
      Yang et al., Knowledge Distillation via Softmax Regression Representation Learning, ICLR 2021.
    """
    check_tuple("student", student, "(features, logits)", 2)
    check_tuple("teacher", teacher, "(features, logits)", 2)
    pair = paired_features(student[0], teacher[0], where, same_shape=False)
    check_same_channels(pair)
    batch = pair.student.shape[0]
    if jnp.ndim(student[1]) != 2 or jnp.shape(student[1])[0] != batch:
        raise ValueError(
            f"student logits must be [batch, num_classes] with batch {batch}, got "
            f"{jnp.shape(student[1])}"
        )
    statistics = jnp.square(global_average(pair.student) - global_average(pair.teacher))
    logits = logit_mse(student[1], teacher[1], where=where)
    return pair.finish(jnp.mean(statistics, axis=-1) + weight * logits)
