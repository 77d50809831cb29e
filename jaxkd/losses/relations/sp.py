"""Similarity-preserving distillation: the Gram matrices of a batch."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import unit
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses.relations._rows import gram, paired_rows, size


@couples_examples
def sp(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    norm: Literal["l1", "l2"] = "l2",
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the similarity-preserving loss: squared differences of normalized Gram matrices.

    `||n(G_t) - n(G_s)||_F**2 / batch**2` with `G` the inner products of the flattened features and
    `n` the normalization of rows. Couples the examples of the batch: a scalar.

    Args:
      student: `[batch, ...]`, flattened; the shapes may differ.
      teacher: `[batch, ...]`.
      norm: norm by which rows of the Gram matrices are divided: "l2" as in the paper, or "l1" as in
        torchdistill.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: another norm, batch sizes that differ, no feature axis, a mask that is not
        `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> print(f"{losses.sp(jnp.eye(2), jnp.ones((2, 3))):.3f}")
      0.293

    References:
      Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019; the code of
      RepDistiller, with which mdistiller agrees.
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f'norm must be "l1" or "l2", got {norm!r}')
    rows = paired_rows(student, teacher, where)
    difference = _similarities(rows.teacher, norm) - _similarities(rows.student, norm)
    return jnp.sum(jnp.sum(jnp.square(difference), axis=1) / rows.number) / rows.number


def _similarities(points: jax.Array, norm: str) -> jax.Array:
    """Returns the Gram matrix `[batch, batch]` with rows of norm 1; rows of zeros stay."""
    similarity = gram(points / size(points))
    if norm == "l2":
        return unit(similarity)[0]
    total = jnp.sum(jnp.abs(similarity), axis=1, keepdims=True)
    return similarity / jnp.where(total > 0, total, 1)
