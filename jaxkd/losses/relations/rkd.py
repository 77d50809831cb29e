"""Relational knowledge distillation: distances between examples and angles among three."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import mask_rows, unit
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._numerics import huber, safe_sqrt
from jaxkd.losses.relations._rows import Rows, gram, paired_rows, size

# Of the largest array in the loop over anchors: enough work for one iteration, little memory.
_MAX_ELEMENTS = 2**20


@couples_examples
def rkd_distance(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    squared: bool = False,
    normalize: bool = False,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the smooth L1 between the pairwise distances of both sides' examples.

    Each side's distances are divided by their mean over all pairs of two examples; the loss is the
    mean over all `batch**2` entries, the zero diagonal included. Couples the examples of the batch:
    a scalar.

    Distances come from differences, in pieces, not from inner products, in whose cancellation close
    pairs are lost. Equal rows have distance 0 and no gradient to each other; the authors' code, and
    the copies of it, give them 1e-6 and a gradient of 1e10.

    Args:
      student: embeddings `[batch, ...]`, flattened; the widths may differ.
      teacher: embeddings `[batch, ...]`.
      squared: whether to compare squared distances.
      normalize: whether to L2-normalize the embeddings first, as MMRazor does by default.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least; 0 for a single example.

    Raises:
      ValueError: batch sizes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[0.0], [1.0], [2.0]])
      >>> print(f"{losses.rkd_distance(student, 5 * student):.3f}")
      0.000
      >>> print(f"{losses.rkd_distance(student, jnp.eye(3)):.3f}")
      0.042

    References:
      Park et al., Relational Knowledge Distillation, CVPR 2019; the authors' code.
    """
    rows = _embeddings(student, teacher, normalize, where)
    difference = _relative_distances(rows.student, rows, squared) - _relative_distances(
        rows.teacher, rows, squared
    )
    return jnp.sum(jnp.sum(huber(difference), axis=1) / rows.number) / rows.number


@couples_examples
def rkd_angle(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    normalize: bool = False,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the smooth L1 between the cosines of the angles of any three examples.

    For every example, the directions from it to all examples and the cosines of all pairs of them;
    the mean is over all `batch**3` entries, those with a repeated example included, as in the
    authors' code. Couples the examples of the batch: a scalar.

    Anchors are processed a few at a time, and again in the backward pass, so that memory grows with
    `batch**2` and not with `batch**3`. Equal rows have no direction and no gradient to each other.

    Args:
      student: embeddings `[batch, ...]`, flattened; the widths may differ.
      teacher: embeddings `[batch, ...]`.
      normalize: whether to L2-normalize the embeddings first, as MMRazor does by default.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least; 0 for a single example.

    Raises:
      ValueError: batch sizes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> triangle = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
      >>> line = jnp.array([[0.0], [1.0], [2.0]])
      >>> print(f"{losses.rkd_angle(triangle, line):.3f}")
      0.130

    References:
      Park et al., Relational Knowledge Distillation, CVPR 2019; the authors' code.
    """
    rows = _embeddings(student, teacher, normalize, where)

    batch = len(rows.selected)

    @jax.checkpoint
    def loss_of_anchor(anchors: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        student_anchor, teacher_anchor, index = anchors
        others = rows.selected & (jnp.arange(batch) != index)
        difference = _cosines(rows.student, student_anchor, others) - _cosines(
            rows.teacher, teacher_anchor, others
        )
        return jnp.sum(jnp.sum(huber(difference), axis=1) / rows.number) / rows.number

    largest = batch * max(batch, rows.student.shape[1], rows.teacher.shape[1])
    losses = jax.lax.map(
        loss_of_anchor,
        (rows.student, rows.teacher, jnp.arange(batch)),
        batch_size=max(1, min(batch, _MAX_ELEMENTS // largest)),
    )
    return jnp.sum(jnp.where(rows.selected, losses, 0)) / rows.number


@couples_examples
def rkd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    distance_weight: ArrayLike = 25.0,
    angle_weight: ArrayLike = 50.0,
    squared: bool = False,
    normalize: bool = False,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the weighted sum of `rkd_distance` and `rkd_angle`.

    The weights are the authors' for classification. Couples the examples of the batch: a scalar.

    Args:
      student: embeddings `[batch, ...]`, flattened; the widths may differ.
      teacher: embeddings `[batch, ...]`.
      distance_weight: weight of `rkd_distance`.
      angle_weight: weight of `rkd_angle`.
      squared: whether to compare squared distances.
      normalize: whether to L2-normalize the embeddings first.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: batch sizes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> print(f"{losses.rkd(jnp.array([[0.0], [1.0], [2.0]]), jnp.eye(3)):.2f}")
      5.67

    References:
      Park et al., Relational Knowledge Distillation, CVPR 2019; the authors' code.
    """
    distance = rkd_distance(
        student,
        teacher,
        squared=squared,
        normalize=normalize,
        where=where,
    )
    angle = rkd_angle(student, teacher, normalize=normalize, where=where)
    distance_weight, angle_weight = jnp.asarray(distance_weight), jnp.asarray(angle_weight)
    return (distance_weight * distance + angle_weight * angle).astype(distance.dtype)


def _embeddings(
    student: ArrayLike,
    teacher: ArrayLike,
    normalize: bool,
    where: ArrayLike | None,
) -> Rows:
    rows = paired_rows(student, teacher, where)
    if not normalize:
        return rows
    return rows._replace(student=unit(rows.student)[0], teacher=unit(rows.teacher)[0])


def _differences(points: jax.Array, anchor: jax.Array) -> jax.Array:
    """Returns points less the anchor, exactly 0 for those equal to it."""
    differences = points - anchor
    # Fused into what computes the points, the subtraction may see more digits of one side than of
    # the other: equal rows would differ by noise, and its direction have an enormous gradient.
    noise = jnp.finfo(points.dtype).eps * jnp.max(jnp.abs(anchor))
    is_distinct = jnp.max(jnp.abs(differences), axis=1) > noise
    return mask_rows(differences, is_distinct)


def _relative_distances(points: jax.Array, rows: Rows, squared: bool) -> jax.Array:
    """Returns distances `[batch, batch]` over their mean; all 0 if all points are equal."""
    # Applied to the differences, which are exact for close points; rounded points would not be.
    scale = size(points)

    @jax.checkpoint
    def to_all(anchor: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(_differences(points, anchor) / scale), axis=1)

    squares = jax.lax.map(to_all, points)
    others = rows.pairs & ~jnp.eye(len(points), dtype=bool)
    distances = jnp.where(others, squares if squared else safe_sqrt(squares), 0)
    mean = jnp.sum(distances) / jnp.maximum(rows.number * (rows.number - 1), 1)
    return jnp.where(mean > 0, distances / jnp.where(mean > 0, mean, 1), 0)


def _cosines(points: jax.Array, anchor: jax.Array, others: jax.Array) -> jax.Array:
    """Returns cosines `[batch, batch]` between the directions from `anchor` to the others."""
    directions, _ = unit(mask_rows(_differences(points, anchor), others))
    return gram(directions)
