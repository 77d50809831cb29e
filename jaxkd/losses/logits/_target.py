"""The label's class among the logits, and the distribution over the other classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import Paired, dense, mask_logits, paired_logits
from jaxkd.losses._sparse_logits import SparseLogits

_SPARSE = "the label's class may be among those without a logit; store dense logits"


def labeled_pair(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    labels: ArrayLike,
    axis: int,
    where: ArrayLike | None,
    *,
    unlabeled_take_part: bool = False,
) -> tuple[Paired, jax.Array]:
    """Pairs logits at temperature 1, class axis last, and checks labels.

    Examples without a label take no part, unless `unlabeled_take_part`.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits of the same shape.
      labels: integers `[...]`, negative where there is none.
      axis: the class axis.
      where: a mask of classes or of examples.
      unlabeled_take_part: whether an example without a label keeps its logits.

    Returns:
      The pair, and class ids `[...]`, -1 where there is none.

    Raises:
      TypeError: `SparseLogits` on any side.
      ValueError: shapes, labels, axis or mask that do not fit.
    """
    teacher = dense("teacher", teacher, _SPARSE)
    pair = paired_logits(student, teacher, 1.0, axis, where)
    labels = dense("labels", labels, "it holds a teacher's logits")
    leading = pair.student.shape[:-1]
    if labels.shape != leading or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"logits of shape {jnp.shape(student)} need integer labels of shape {leading}, one "
            f"class an example, got {labels.dtype} labels of shape {labels.shape}"
        )
    labeled = labels >= 0
    # Wide and signed: neither -1 nor the number of classes need fit the labels' own dtype.
    ids = jnp.where(labeled, labels.astype(jnp.int32), -1)
    if unlabeled_take_part:
        return pair, ids
    rows = labeled if pair.rows is None else pair.rows & labeled
    student, teacher = (mask_logits(x, None, rows) for x in (pair.student, pair.teacher))
    return pair._replace(student=student, teacher=teacher, rows=rows), ids


def is_class(ids: jax.Array, num_classes: int) -> jax.Array:
    """Returns `[..., num_classes]`, True at the class of each row; nowhere for the id -1."""
    return ids[..., None] == jnp.arange(num_classes, dtype=ids.dtype)


def at_class(values: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns the value `[...]` of each row's class: of class 0 for the id -1, NaN if too large."""
    return jnp.take_along_axis(values, jnp.maximum(ids, 0)[..., None], axis=-1)[..., 0]


def class_against_rest(logits: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns log-probabilities `[..., 2]` of each row's class and of all others together."""
    rest = jnp.where(is_class(ids, logits.shape[-1]), -jnp.inf, logits)
    has_rest = jnp.any(~jnp.isneginf(rest), axis=-1)
    # The logsumexp of -inf alone has a NaN gradient: it is taken of zeros there, and not used.
    mass = jax.nn.logsumexp(jnp.where(has_rest[..., None], rest, 0), axis=-1)
    mass = jnp.where(has_rest, mass, -jnp.inf)
    return jax.nn.log_softmax(jnp.stack([at_class(logits, ids), mass], axis=-1))


def log_probs_among(logits: jax.Array, keep: jax.Array) -> jax.Array:
    """Returns log-probabilities over the classes of `keep` alone, -inf elsewhere.

    A row that keeps no class is -inf throughout, without gradient.

    Args:
      logits: `[..., num_classes]`.
      keep: boolean, of the same shape.

    Returns:
      The shape of the logits.
    """
    kept = jnp.where(keep, logits, -jnp.inf)
    is_row = jnp.any(~jnp.isneginf(kept), axis=-1, keepdims=True)
    return jnp.where(keep & is_row, jax.nn.log_softmax(jnp.where(is_row, kept, 0)), -jnp.inf)
