"""Centered kernel alignment of two batches of features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import unit
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses.relations._rows import Rows, centered, gram, paired_rows, products, size


@couples_examples
def cka(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes one minus the linear centered kernel alignment of the two batches.

    CKA is the cosine between the Gram matrices of the features, centered over the batch. It does
    not change when either side is rotated, shifted or scaled. Couples the examples of the batch: a
    scalar. Computed from products of examples or of features, whichever matrices are smaller. With
    fewer examples than features CKA is near 1 whatever the features are: use large batches.

    Args:
      student: `[batch, ...]`, flattened; the shapes may differ.
      teacher: `[batch, ...]`.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar between 0 and 1, float32 at least. A side whose rows are all equal has no direction:
      1, or 0 if this holds for both, without gradient.

    Raises:
      ValueError: batch sizes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
      >>> print(f"{losses.cka(student, 3 * student[:, ::-1] + 1):.2f}")
      0.00
      >>> print(f"{losses.cka(student, jnp.array([[1.0], [1.0], [-2.0]])):.2f}")
      1.00

    References:
      Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019.
    """
    rows = paired_rows(student, teacher, where)
    x, y = (_centered_over_size(side, rows) for side in (rows.student, rows.teacher))
    batch = len(rows.selected)
    if batch <= max(x.shape[1], y.shape[1]):
        # Half the squared distance of unit matrices is 1 - cos, exactly 0 where they are equal.
        student_gram, teacher_gram = (unit(gram(side), (0, 1))[0] for side in (x, y))
        distance = 0.5 * jnp.sum(jnp.square(student_gram - teacher_gram))
    else:
        norms = jnp.sqrt(_squares(products(x.T, x))) * jnp.sqrt(_squares(products(y.T, y)))
        distance = 1 - jnp.sum(jnp.square(products(x.T, y))) / norms
    varies_x, varies_y = jnp.any(x != 0), jnp.any(y != 0)
    return jnp.where(varies_x & varies_y, distance, (varies_x ^ varies_y).astype(distance.dtype))


def _centered_over_size(points: jax.Array, rows: Rows) -> jax.Array:
    points = centered(points, rows.selected, rows.number)
    return points / size(points)


def _squares(values: jax.Array) -> jax.Array:
    """Returns the sum of squares; 1, without gradient, if it is 0."""
    total = jnp.sum(jnp.square(values))
    return jnp.where(total > 0, total, 1)
