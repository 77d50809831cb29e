"""Probabilistic knowledge transfer: neighborhoods as distributions over the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._kinds import couples_examples
from jaxkd.losses.relations._rows import Rows, gram, paired_rows

# The authors' constant: added to norms, and inside the logarithm to both probabilities.
_EPSILON = 1e-7


@couples_examples
def pkt(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the divergence between the neighborhoods of the examples on either side.

    An example's neighborhood is the distribution over the batch proportional to `(cos + 1) / 2`;
    the loss is the mean over all `batch**2` entries of `p log((p + 1e-7) / (q + 1e-7))`, p the
    teacher's and q the student's: the mean divergence of a row divided by the batch size, as in the
    authors' code, which weights it with 30,000. Couples the examples of the batch: a scalar.

    A row of zeros is at right angles to all rows and has no gradient; public implementations give
    NaN gradients.

    Args:
      student: embeddings `[batch, ...]`, flattened; the widths may differ.
      teacher: embeddings `[batch, ...]`.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: batch sizes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[1.0, 0.0], [2.0, 0.0]]), jnp.eye(2)
      >>> print(f"{losses.pkt(student, teacher):.4f}")
      0.0283

    References:
      Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer,
      ECCV 2018; the authors' code.
    """
    rows = paired_rows(student, teacher, where)
    q, p = _neighborhoods(rows.student, rows), _neighborhoods(rows.teacher, rows)
    # Each row of p - q sums to 0, so that subtracting it changes no sum; but then each term is
    # small where both sides are close, and no digits are lost in a sum of large terms.
    terms = p * jnp.log1p((p - q) / (q + _EPSILON)) - (p - q)
    return jnp.sum(jnp.sum(terms, axis=1) / rows.number) / rows.number


def _neighborhoods(points: jax.Array, rows: Rows) -> jax.Array:
    """Returns distributions `[batch, batch]` over the second axis; 0 in rows that take no part."""
    similarity = (gram(_nearly_unit(points)) + 1) / 2
    # Opposite rows may come out a rounding error below 0, and below minus epsilon there is no log.
    similarity = jnp.where(rows.pairs & (similarity > 0), similarity, 0)
    total = jnp.sum(similarity, axis=1, keepdims=True)
    return similarity / jnp.where(total > 0, total, 1)


def _nearly_unit(points: jax.Array) -> jax.Array:
    """Divides rows by their norm plus epsilon; zeros stay, without gradient."""
    # In units of the largest entry, whose square neither over- nor underflows.
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(points), axis=1, keepdims=True))
    nonzero = scale > 0
    scale = jnp.where(nonzero, scale, 1)
    points = jnp.where(nonzero, points, 0) / scale
    squares = jnp.sum(jnp.square(points), axis=1, keepdims=True)
    return points / (jnp.sqrt(jnp.where(nonzero, squares, 1)) + _EPSILON / scale)
