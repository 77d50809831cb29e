"""Universal self-distillation: the student's own soft labels, without a teacher."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._logit_pairs import Paired, check_axis, dense, mask_logits, split_where
from jaxkd.losses._numerics import compute_dtype, soft_cross_entropy, temper
from jaxkd.losses._reduce import masked_mean
from jaxkd.losses.cross_entropy import cross_entropy
from jaxkd.losses.logits._target import is_class, log_probs_among


@couples_examples
def uskd(
    student: tuple[ArrayLike, ArrayLike],
    labels: ArrayLike,
    *,
    alpha: ArrayLike = 1.0,
    beta: ArrayLike = 0.1,
    mu: ArrayLike = 0.005,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes universal self-distillation: soft labels from the student itself and a weak head.

    Couples the examples of the batch: a scalar. It is the mean over the examples of three terms,
    with q the softmax of the logits, w that of the weak logits and y the label's class:

    - alpha times `-t log q_y` with the soft label `t = 1 + q_y**2 - mean(q_y**2)`, the mean over
      the batch;
    - beta times the cross entropy of q' with z', the other classes alone: z is Zipf's law, 1 / rank
      of all classes by `w / (1 - w_y + 1e-6) + log q / (1 - log q_y + 1e-6)`, the largest first,
      and q' and z' are q and z without the label's class, normalized;
    - mu times the cross entropy of w with the label, smoothed by 0.1: what trains the weak head.

    No gradient flows through t and z. The logarithms in the rank are those of the authors' code, by
    which the published accuracies were obtained; the paper ranks by q / (1 - q_y) instead.

    A distribution as label, as mixup makes it, has two classes y: those of its two largest entries.
    Each has its own soft label `t = label + q_y**2 - mean(q_y**2)`, the mean over the first or over
    the second of all examples; the rank has sums over both. An entry of 0 is no label, where the
    authors' code takes some other class for a second label.

    Args:
      student: `(logits, weak_logits)`, both `[..., num_classes]`: the network's, and those of a
        linear head on the pooled features of a middle stage.
      labels: integers `[...]`, the class of each example, negative where there is none; or
        distributions `[..., num_classes]` with the class axis where the logits have it. Examples
        without a label, or with zeros alone, take no part. A class id that is too large gives NaN,
        one of a masked class costs infinity.
      alpha: weight of the label's class; may be traced.
      beta: weight of the other classes; may be traced.
      mu: weight of the weak head's own loss; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes, with one rank less a mask of
        examples; the result is that of the selected ones alone.

    Returns:
      A scalar, float32 at least; 0 if no example takes part.

    Raises:
      ValueError: student that is not a pair of arrays of one shape, labels that fit the logits
        neither as class ids nor as distributions, a mask of another rank.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> logits = jnp.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
      >>> weak_logits = jnp.array([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
      >>> print(f"{losses.uskd((logits, weak_logits), jnp.array([0, 1])):.3f}")
      0.399

    References:
      Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach
      with Normalized Loss and Customized Soft Labels, ICCV 2023 (the authors' code, cls_KD).
    """
    logits, weak = _two_heads(student)
    # Both are the student's, and so both have a gradient.
    pair = _paired_heads(logits, weak, axis, where)
    labels, ids, values = _label_entries(labels, pair, logits.shape, axis)
    labeled = values[..., 0] > 0
    rows = labeled if pair.rows is None else pair.rows & labeled
    logits, weak = (mask_logits(x, None, rows) for x in (pair.student, pair.teacher))

    is_used = rows[..., None] & (values > 0)
    log_q, log_w = jax.nn.log_softmax(logits), jax.nn.log_softmax(weak)
    log_q_label, log_w_label = (
        jnp.where(is_used, jnp.take_along_axis(x, jnp.maximum(ids, 0), axis=-1), 0)
        for x in (log_q, log_w)
    )
    target = soft_cross_entropy(_soft_labels(log_q_label, values, is_used), log_q_label)

    is_label = jnp.any(is_used[..., None] & is_class(ids, logits.shape[-1]), axis=-2)
    rank = jnp.exp(log_w) / _one_minus(jnp.where(is_used, jnp.exp(log_w_label), 0))
    rank += log_q / _one_minus(log_q_label)
    zipf = _zipf(jax.lax.stop_gradient(rank), ~is_label & ~jnp.isneginf(logits))
    rest = soft_cross_entropy(zipf, log_probs_among(logits, ~is_label))

    of_weak_head = cross_entropy(weak, labels, label_smoothing=0.1, where=rows)
    alpha, beta, mu = (jnp.asarray(weight, logits.dtype) for weight in (alpha, beta, mu))
    return masked_mean(alpha * target + beta * rest + mu * of_weak_head, rows)


def _label_entries(
    labels: ArrayLike, pair: Paired, shape: tuple[int, ...], axis: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checks labels and finds the classes that they name.

    Args:
      labels: class ids or distributions.
      pair: logits, class axis last.
      shape: shape of the logits as they were given.
      axis: their class axis.

    Returns:
      The labels, class axis last; the classes `[..., 1 or 2]` of each example, and their shares of
      the label: 0 where there is no such class.

    Raises:
      ValueError: labels that fit the logits neither as class ids nor as distributions.
      TypeError: `SparseLogits`.
    """
    dtype, leading = pair.student.dtype, pair.student.shape[:-1]
    labels = dense("labels", labels, "it holds a teacher's logits")
    if labels.shape == leading and jnp.issubdtype(labels.dtype, jnp.integer):
        # Wide and signed: -1 need not fit the labels' own dtype.
        labels = jnp.where(labels >= 0, labels.astype(jnp.int32), -1)
        return labels, labels[..., None], (labels >= 0)[..., None].astype(dtype)
    if labels.shape == shape:
        labels = jnp.moveaxis(jax.lax.stop_gradient(labels).astype(dtype), axis, -1)
        # The share of masked classes is dropped, as in `cross_entropy`.
        labels = jnp.where(jnp.isneginf(pair.student), 0, labels)
        values, ids = jax.lax.top_k(labels, min(2, labels.shape[-1]))
        return labels, ids, values
    raise ValueError(
        f"logits of shape {shape} need integer labels of shape {leading} or distributions of shape "
        f"{shape}, got {labels.dtype} labels of shape {labels.shape}"
    )


def _soft_labels(log_q_label: jax.Array, values: jax.Array, is_used: jax.Array) -> jax.Array:
    """Returns `label + q_y**2 - mean(q_y**2)`, without gradient; the mean is over the examples."""
    squares = jnp.where(is_used, jnp.exp(2 * log_q_label), 0)
    examples = tuple(range(squares.ndim - 1))
    mean = jnp.sum(squares, axis=examples) / jnp.maximum(jnp.sum(is_used, axis=examples), 1)
    return jax.lax.stop_gradient(jnp.where(is_used, values + squares - mean, 0))


def _two_heads(student: tuple[ArrayLike, ArrayLike]) -> tuple[jax.Array, jax.Array]:
    if not isinstance(student, (tuple, list)) or len(student) != 2:
        raise ValueError(
            "student must be a pair (logits, weak_logits), the second of a head on a middle stage: "
            f"got {type(student).__name__}"
        )
    logits, weak = (dense("student", x, "only a teacher can be sparse") for x in student)
    if logits.shape != weak.shape:
        raise ValueError(
            f"the student's logits have shape {logits.shape} and its weak logits {weak.shape}: the "
            "weak head must end in the same classes"
        )
    return logits, weak


def _paired_heads(logits: jax.Array, weak: jax.Array, axis: int, where: ArrayLike | None) -> Paired:
    """Pairs the logits of the student's two heads, class axis last; `weak` is the teacher."""
    axis = check_axis(axis, logits)
    dtype = compute_dtype(logits, weak)
    classes, rows = split_where(where, logits.shape, axis)
    logits, weak = (
        mask_logits(jnp.moveaxis(temper(x, 1.0, dtype), axis, -1), classes, rows)
        for x in (logits, weak)
    )
    return Paired(logits, weak, rows)


def _one_minus(values: jax.Array) -> jax.Array:
    return 1 - jnp.sum(values, axis=-1, keepdims=True) + 1e-6


def _zipf(rank: jax.Array, keep: jax.Array) -> jax.Array:
    """Returns Zipf's law by rank, the largest first, normalized over the classes of `keep`."""
    order = jnp.argsort(rank, axis=-1, descending=True)
    position = jnp.argsort(order, axis=-1)
    law = jnp.where(keep, 1 / (position + 1).astype(rank.dtype), 0)
    total = jnp.sum(law, axis=-1, keepdims=True)
    return law / jnp.where(total > 0, total, 1)
