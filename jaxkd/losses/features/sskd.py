"""Distillation of self-supervision (SSKD): the teacher's outputs on transformed images.

Every image comes as several views: the first is the image itself, the others are transformed (by
rotations, for instance). The teacher's wrong predictions on transformed images are ranked by the
rank of the correct class, and the worst are left out.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, check_weight
from jaxkd.losses._feature_pairs import batch_mask, gathered, paired_features, unit
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._logit_pairs import dense
from jaxkd.losses._reduce import masked_mean
from jaxkd.losses.logits.kd import kd


@couples_examples
def sskd_transformed(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    ratio: float = 1.0,
    temperature: ArrayLike = 4.0,
    keep: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes SSKD on logits: `kd` on transformed views, without the teacher's worst errors.

    The loss is the mean over all views that the teacher classifies correctly, and the share `ratio`
    of the others (rounded down) whose label has the best ranks; of equal ranks the earlier views
    are kept. The authors add it with weight 2.7 to `kd` and `cross_entropy` on the first views (0.9
    and 0.1) and to `sskd_similarity` (10). It couples the examples of the batch.

    Args:
      student: logits `[batch, views, num_classes]`; the first view is not used.
      teacher: logits of the same shape.
      labels: integers `[batch]`; an example with a negative one does not count.
      ratio: share of the wrong predictions that is kept, in [0, 1].
      temperature: positive scalar that divides both logits; may be traced.
      keep: boolean `[batch, views - 1]`, the transformed views to use instead of the ranking, for
        instance a stored selection. None for the ranking.
      where: boolean `[batch]`, the examples that count; the loss is 0 if there are none.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: shapes that differ or are not `[batch, views, num_classes]` with two or more
        views, labels that are not integers `[batch]`, a ratio outside [0, 1], a temperature that is
        not positive and finite, a mask of another shape.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.zeros((1, 3, 2))
      >>> teacher = jnp.array([[[3.0, 0.0], [3.0, 0.0], [0.0, 3.0]]])
      >>> loss = losses.sskd_transformed(student, teacher, jnp.array([0]), ratio=0.0)
      >>> print(f"{loss:.3f}")
      1.051

    References:
      Xu et al., Knowledge Distillation Meets Self-Supervision, ECCV 2020.
    """
    student = dense("student", student, "only a teacher can be sparse")
    teacher = dense("teacher", teacher, "its classes cannot be ranked")
    labels = dense("labels", labels, "they are class ids")
    check_weight("ratio", ratio, below_one=False)
    _check_views(student, teacher, "num_classes")
    if labels.shape != student.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers of shape {student.shape[:1]} for logits of shape "
            f"{student.shape}, got {labels.dtype} of shape {labels.shape}"
        )
    rows = labels >= 0
    if where is not None:
        rows &= batch_mask(where, student.shape)
    student, teacher = student[:, 1:], teacher[:, 1:]
    selected = jnp.broadcast_to(rows[:, None], student.shape[:2])
    if keep is None:
        ids = jnp.arange(teacher.shape[-1])
        correct = ids == labels[:, None, None]
        keep = _best_ranked(_ranks(teacher, correct, jnp.ones_like(correct)), selected, ratio)
    keep = selected & _as_keep(keep, student.shape[:2])
    losses = kd(
        student,
        teacher,
        temperature=temperature,
        where=selected,
    )
    return masked_mean(losses, keep)


@couples_examples
def sskd_similarity(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    ratio: float = 0.75,
    temperature: ArrayLike = 0.5,
    keep: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes SSKD on embeddings: `kd` on the similarities of transformed views to all images.

    The cosines of each transformed view with the first views of all images serve as logits, and the
    view's own image as the label; views are kept as in `sskd_transformed`. A zero embedding has
    cosine 0 with all, and no gradient. The loss couples the examples of the batch.

    Args:
      student: embeddings `[batch, views, width]`.
      teacher: embeddings `[batch, views, width]`, of any width.
      ratio: share of the wrong predictions that is kept, in [0, 1].
      temperature: positive scalar that divides the cosines; may be traced.
      keep: boolean `[batch, views - 1]`, the transformed views to use; None for the ranking.
      where: boolean `[batch]`, the examples that count; the loss is 0 if there are none.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: shapes that are not `[batch, views, width]` with as many views, at least two, a
        ratio outside [0, 1], a temperature that is not positive and finite, a mask of another
        shape.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.ones((2, 2, 3))
      >>> teacher = jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
      >>> print(f"{losses.sskd_similarity(student, teacher, temperature=1.0):.3f}")
      0.111

    References:
      Xu et al., Knowledge Distillation Meets Self-Supervision, ECCV 2020.
    """
    check_weight("ratio", ratio, below_one=False)
    pair = paired_features(student, teacher, where, same_shape=False)
    _check_views(pair.student, pair.teacher, "width", same_last=False)
    batch, views = pair.student.shape[0], pair.student.shape[1] - 1
    rows = jnp.ones(batch, bool) if pair.rows is None else gathered(pair.rows)
    cosines, targets = (_similarities(side) for side in pair[:2])
    selected = jnp.broadcast_to(rows[:, None], (batch, views))
    if keep is None:
        own_image = jnp.eye(batch, dtype=bool)[:, None]
        keep = _best_ranked(_ranks(targets, own_image, rows), selected, ratio)
    keep = selected & _as_keep(keep, (batch, views))
    images = selected[..., None] & rows
    if batch == 1:
        # One image has nothing to be told apart from: a loss of 0, which `kd` refuses to compute.
        cosines, targets, images = (
            jnp.pad(array, ((0, 0), (0, 0), (0, 1))) for array in (cosines, targets, images)
        )
    losses = kd(cosines, targets, temperature=temperature, where=images)
    return masked_mean(losses, keep)


def _check_views(
    student: jax.Array, teacher: jax.Array, last: str, *, same_last: bool = True
) -> None:
    both = f"got student {student.shape} and teacher {teacher.shape}"
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[1] < 2:
        raise ValueError(
            f"student and teacher must be [batch, views, {last}], the first view the image itself "
            f"and at least one transformed: {both}"
        )
    if student.shape[:2] != teacher.shape[:2] or (same_last and student.shape != teacher.shape):
        raise ValueError(f"student and teacher must have the same batch, views and classes: {both}")


def _as_keep(keep: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    if jnp.shape(keep) != shape:
        raise ValueError(
            f"keep must be [batch, views - 1] = {shape}, one for each transformed view, got "
            f"{jnp.shape(keep)}"
        )
    return as_mask(keep, shape, "the transformed views")


def _similarities(embeddings: jax.Array) -> jax.Array:
    """Returns the cosines of transformed with first views, `[batch, views - 1, batch]`."""
    directions, _ = unit(embeddings)
    return jnp.einsum(
        "bvd,cd->bvc",
        directions[:, 1:],
        gathered(directions[:, 0]),
        precision=jax.lax.Precision.HIGHEST,
    )


def _ranks(scores: jax.Array, correct: jax.Array, possible: jax.Array) -> jax.Array:
    """Returns the rank of the correct class in each view, `[batch, views]`, from 0.

    Among equal scores the earlier class comes first.

    Args:
      scores: scores `[batch, views, num_classes]`.
      correct: boolean, broadcastable to `scores`, True for one class of each view.
      possible: boolean, broadcastable to `scores`, the classes that are ranked.
    """
    score = jnp.max(scores, axis=-1, keepdims=True, where=correct, initial=-jnp.inf)
    earlier = jnp.arange(scores.shape[-1]) < jnp.argmax(correct, axis=-1, keepdims=True)
    before = (scores > score) | ((scores == score) & earlier)
    return jnp.sum(before & possible, axis=-1)


def _best_ranked(ranks: jax.Array, selected: jax.Array, ratio: float) -> jax.Array:
    """Selects all of rank 0 and the share `ratio` of the others, the best first."""
    shape = ranks.shape
    ranks, selected = gathered(ranks).ravel(), gathered(selected).ravel()
    correct = jnp.sum(selected & (ranks == 0))
    wrong = jnp.sum(selected) - correct
    # The number of wrong predictions is traced: all shares are rounded down beforehand, in double
    # precision.
    shares = jnp.asarray(np.floor(np.arange(ranks.size + 1) * ratio).astype(np.int32))
    order = jnp.argsort(jnp.where(selected, ranks, jnp.iinfo(ranks.dtype).max), stable=True)
    return (jnp.argsort(order) < correct + shares[wrong]).reshape(shape)
