"""Cross entropy of the sigmoid with labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight, to_array
from jaxkd.losses._entries import entry_mask, labeled_entries, like_entries
from jaxkd.losses._logit_pairs import dense

_WANTED = "labels 0, 1 or -1 (unknown), or floats in [0, 1],"


def binary_cross_entropy(
    student: ArrayLike,
    labels: ArrayLike,
    *,
    pos_weight: ArrayLike = 1.0,
    label_smoothing: ArrayLike = 0.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the cross entropy of the student's sigmoid with labels, of each entry by itself.

    It is `-(pos_weight y log σ(x) + (1 - y) log(1 - σ(x)))` of a logit x and a label y, in log
    space. Labels are constants: no gradient flows to them.

    Args:
      student: logits `[..., num_classes]`, or `[...]` of one class.
      labels: of the shape of the logits, or `[...]` for logits `[..., 1]`. Integers (or booleans)
        are 1, 0, or negative where the entry is unknown: loss and gradient are then 0, and an
        objective does not count it. Floats are probabilities. Other numbers, as class ids, give
        NaN.
      pos_weight: weight of the label 1, above 1 where it is rare; a scalar or `[num_classes]`.
      label_smoothing: share, in [0, 1], of a label that is spread evenly over 0 and 1, unless the
        logit is -inf.
      where: boolean, of the shape of the logits or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss in nats for each entry, of the shape of the logits, float32 at least.

    Raises:
      ValueError: labels of another shape, a pos_weight that is not positive or does not fit, a
        label_smoothing outside [0, 1], a mask that does not fit.
      TypeError: `SparseLogits` on either side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> loss = losses.binary_cross_entropy(jnp.array([[2.0, 2.0, 2.0]]), jnp.array([[1, 0, -1]]))
      >>> [f"{entry:.3f}" for entry in loss[0]]
      ['0.127', '2.127', '0.000']

    References:
      Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016 (smoothing).
    """
    student = dense("student", student, "only a teacher can be sparse")
    labels = dense("labels", labels, "it holds a teacher's logits, of classes; use kd")
    check_weight("label_smoothing", label_smoothing, below_one=False)
    weight = _check_pos_weight(pos_weight, student.shape)
    where = entry_mask(where, student.shape)
    if not jnp.issubdtype(labels.dtype, jnp.inexact):
        labels = like_entries(student, labels.astype(jnp.int32), wanted=_WANTED)
        where = labels >= 0 if where is None else where & (labels >= 0)
    # Beyond 0 and 1 the loss has no lower bound; probabilities may leave them by a rounding.
    labels = jnp.where(jnp.abs(labels - 0.5) > 0.51, jnp.nan, labels)
    pair = labeled_entries(student, labels, where, wanted=_WANTED)

    logits = pair.student
    # A logit of -inf has no other side that a share of the label could go to.
    smoothing = jnp.where(jnp.isneginf(logits), 0, jnp.asarray(label_smoothing, logits.dtype))
    positive = (1 - smoothing) * pair.teacher + smoothing / 2
    negative = 1 - positive
    return pair.finish(
        weight.astype(logits.dtype) * positive * _cost(positive, -logits)
        + negative * _cost(negative, logits)
    )


def _cost(share: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns -log(1 - σ(logits)), 0 without a gradient where it has no share in the loss."""
    # 0 times the infinite cost of a masked logit would be NaN.
    none = share == 0
    return jnp.where(none, 0, jax.nn.softplus(jnp.where(none, 0, logits)))


def _check_pos_weight(pos_weight: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    weight = to_array("pos_weight", pos_weight)
    if weight.ndim and weight.shape != shape[-1:]:
        raise ValueError(
            f"pos_weight must be a scalar or [num_classes], got shape {weight.shape} for logits "
            f"of shape {shape}"
        )
    if not isinstance(weight, jax.core.Tracer):
        values = np.asarray(weight)
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"pos_weight must be positive and finite, got {pos_weight}")
    return weight
