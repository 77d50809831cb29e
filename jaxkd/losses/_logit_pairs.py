"""The first step of every loss on logits: check, upcast, temper, mask, and detach the teacher."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, check_temperature, to_array
from jaxkd.losses._numerics import compute_dtype, temper
from jaxkd.losses._sampled_classes import (
    SampledClasses,
    check_sampled,
    check_sampled_at,
    sampled_cross_entropy,
)
from jaxkd.losses._sparse_logits import SparseLogits, check_sparse, student_buckets, teacher_buckets


class Paired(NamedTuple):
    """Student and teacher ready to be compared, the class axis last.

    Attributes:
      student: `[..., n]`, float32 at least; n is the number of classes, or k + 1 buckets.
      teacher: `[..., n]`, a constant unless it is learned.
      rows: `[...]`, False for the examples that take no part, or None when all do.
      is_declared: scalar, False if a traced temperature is none of those that a sparse teacher
        declares; None if there is nothing to look up when the program runs.
    """

    student: jax.Array
    teacher: jax.Array
    rows: jax.Array | None = None
    is_declared: jax.Array | None = None

    def finish(self, losses: jax.Array) -> jax.Array:
        """Returns losses `[...]`, exactly 0 in rows that take no part; NaN if not `is_declared`."""
        return _finish(losses, self.rows, self.is_declared)


def paired_tokens(student: jax.Array, teacher: jax.Array, where: ArrayLike | None) -> Paired:
    """Pairs vectors `[..., n]` of tokens in one dtype, float32 at least; tokens left out are 0.

    Args:
      student: `[..., n]`; the last axis may differ in size from the teacher's.
      teacher: `[..., n]`.
      where: boolean `[...]`, the tokens that take part; None for all.

    Returns:
      The pair, of the shapes of the arguments.

    Raises:
      ValueError: a mask that does not fit.
    """
    dtype = compute_dtype(student, teacher)
    student, teacher = student.astype(dtype), teacher.astype(dtype)
    teacher = jax.lax.stop_gradient(teacher)
    if where is None:
        return Paired(student, teacher)
    rows = as_mask(where, student.shape[:-1], "the tokens, of shape")
    rows = jnp.broadcast_to(rows, student.shape[:-1])
    return Paired(mask_logits(student, None, rows), mask_logits(teacher, None, rows), rows)


def paired_logits(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits | SampledClasses,
    temperature: ArrayLike,
    axis: int,
    where: ArrayLike | None,
    *,
    softmax: bool = True,
) -> Paired:
    """Pairs logits over temperature: -inf at masked classes, 0 in examples that take no part.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits of the same shape, or `SparseLogits` `[..., k]`.
      temperature: a positive scalar; may be traced.
      axis: the class axis of the dense logits.
      where: a mask of classes (the rank of the logits) or of examples (one rank less).
      softmax: whether the loss is one of probabilities, which a single class has none of.

    Returns:
      The pair `[..., num_classes]`, class axis last; on the k + 1 buckets of a sparse teacher.

    Raises:
      TypeError: `student` is `SparseLogits`, or either side `SampledClasses`.
      ValueError: shapes, temperature, axis or mask that do not fit, a softmax over one class.
    """
    student = dense("student", student, "only a teacher can be sparse")
    check_temperature(temperature)
    axis = check_axis(axis, student)
    if softmax:
        check_several_classes(student, axis)
    if isinstance(teacher, SparseLogits):
        return _sparse_pair(student, teacher, temperature, axis, where)
    teacher = _not_sampled("teacher", teacher)
    check_same_logits(student, teacher, axis)
    dtype = compute_dtype(student, teacher)
    classes, rows = split_where(where, student.shape, axis)
    teacher = jax.lax.stop_gradient(teacher)
    student, teacher = (
        mask_logits(jnp.moveaxis(temper(x, temperature, dtype), axis, -1), classes, rows)
        for x in (student, teacher)
    )
    return Paired(student, teacher, rows)


def paired_log_probs(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits | SampledClasses,
    temperature: ArrayLike,
    axis: int,
    where: ArrayLike | None,
    *,
    restrict_student: bool = False,
) -> Paired:
    """Pairs the log-probabilities of both sides.

    Args:
      student: as for `paired_logits`.
      teacher: as for `paired_logits`.
      temperature: as for `paired_logits`.
      axis: as for `paired_logits`.
      where: as for `paired_logits`.
      restrict_student: whether classes that the teacher excludes with a logit of -inf are masked
        for the student as well.

    Returns:
      The pair of log-probabilities, class axis last.

    Raises:
      TypeError: as `paired_logits`.
      ValueError: as `paired_logits`.
    """
    pair = paired_logits(student, teacher, temperature, axis, where)
    log_q, log_p = pair.student, pair.teacher
    if restrict_student:
        log_q = jnp.where(jnp.isneginf(log_p), -jnp.inf, log_q)
    return pair._replace(student=jax.nn.log_softmax(log_q), teacher=jax.nn.log_softmax(log_p))


def _finish(losses: jax.Array, rows: jax.Array | None, is_declared: jax.Array | None) -> jax.Array:
    if is_declared is not None:
        # At the very end, where nothing follows that could swallow the NaN; a product, so that
        # the gradient is NaN as well.
        losses = losses * jnp.where(is_declared, 1, jnp.nan)
    return keep_rows(losses, rows)


def keep_rows(losses: jax.Array, rows: jax.Array | None) -> jax.Array:
    """Returns losses `[...]`, exactly 0 for the examples that take no part."""
    return losses if rows is None else jnp.where(rows, losses, 0)


def sampled_divergence(
    student: ArrayLike,
    teacher: SampledClasses,
    temperature: ArrayLike,
    axis: int,
    where: ArrayLike | None,
) -> jax.Array:
    """Estimates KL(p || q) from samples, without bias.

    Args:
      student: logits `[..., num_classes]`.
      teacher: `[..., num_samples]` classes sampled from p.
      temperature: temperature of p; may be traced.
      axis: the class axis of the student.
      where: a mask of examples, one rank less than the logits.

    Returns:
      `[...]`, one estimate an example.

    Raises:
      TypeError: `student` is no array.
      ValueError: shapes that do not fit, a temperature other than that of the samples, a mask of
        classes.
    """
    student = dense("student", student, "only a teacher can be sparse")
    check_temperature(temperature)
    axis = check_axis(axis, student)
    if where is not None and jnp.ndim(where) == student.ndim:
        raise ValueError(
            f"where of shape {jnp.shape(where)} masks classes, but those of a SampledClasses "
            "teacher are sampled already: mask them in the teacher's logits before they are "
            "stored, and in the student's"
        )
    _, rows = split_where(where, student.shape, axis)
    student = jnp.moveaxis(student, axis, -1)
    check_sampled(teacher, student.shape)
    is_declared = check_sampled_at(teacher, temperature)
    indices = jnp.asarray(teacher.indices)
    weights = jnp.full(indices.shape, 1 / indices.shape[-1], jnp.float32)
    student = mask_logits(student, None, rows)
    cross_entropy = sampled_cross_entropy(student, indices, weights, temperature)
    entropy = jax.lax.stop_gradient(jnp.asarray(teacher.entropy, cross_entropy.dtype))
    return _finish(cross_entropy - entropy, rows, is_declared)


def dense(name: str, value: ArrayLike | SparseLogits | SampledClasses, reason: str) -> jax.Array:
    """Returns the value as an array.

    Args:
      name: name of the argument, for error messages.
      value: an array; not `SparseLogits` or `SampledClasses`.
      reason: why `SparseLogits` are not accepted, for the error message.

    Returns:
      The array.

    Raises:
      TypeError: `SparseLogits` or `SampledClasses`; complex numbers, texts or objects.
      ValueError: numbers that overflow in the type that JAX computes in.
    """
    if isinstance(value, SparseLogits):
        raise TypeError(f"{name} must be an array, got SparseLogits: {reason}")
    return _not_sampled(name, value)


def _not_sampled(name: str, value: ArrayLike | SampledClasses) -> jax.Array:
    if isinstance(value, SampledClasses):
        raise TypeError(
            f"{name} must be logits, got SampledClasses: it holds classes sampled from a teacher "
            "and not the probabilities of the others, so that only the forward KL(p || q) can be "
            "estimated from it. Use it as the teacher of kl_divergence or kd, or store logits, "
            "with the codec TopK or Dense"
        )
    return to_array(name, value)


def check_axis(axis: int, student: jax.Array) -> int:
    """Returns the class axis counted from the front.

    Args:
      axis: class axis, negative if counted from the end.
      student: logits.

    Returns:
      The axis, not negative.

    Raises:
      ValueError: an axis that the logits do not have.
    """
    if not -student.ndim <= axis < student.ndim:
        raise ValueError(
            f"axis {axis} is out of range for student logits of shape {student.shape}: "
            "logits are [..., num_classes]"
        )
    return axis % student.ndim


def check_several_classes(student: jax.Array, axis: int) -> None:
    """Refuses a softmax over one class, which is 1 whatever the logit: all losses would be 0.

    Args:
      student: logits.
      axis: the class axis, not negative.

    Raises:
      ValueError: one class; names the losses of a sigmoid.
    """
    if student.shape[axis] == 1:
        raise ValueError(
            f"logits of shape {student.shape} have one class, whose softmax is 1 whatever the "
            "logit: of a network with one sigmoid output write losses.binary_kd(student, teacher) "
            "and losses.binary_cross_entropy(student, labels), or recipes.create('binary_kd', "
            "pair), which has both; or losses.logit_mse, which compares the logits themselves"
        )


def mask_logits(logits: jax.Array, classes: jax.Array | None, rows: jax.Array | None) -> jax.Array:
    """Masks logits, class axis last: -inf outside `classes`, 0 in the rows that take no part.

    Replacing the whole row keeps whatever stands in it (NaN, infinities) out of the gradient.

    Args:
      logits: `[..., num_classes]`.
      classes: boolean, broadcastable to the logits, or None.
      rows: boolean `[...]`, or None.

    Returns:
      The shape of the logits.
    """
    if classes is not None:
        logits = jnp.where(classes, logits, -jnp.inf)
    return logits if rows is None else jnp.where(rows[..., None], logits, 0)


def split_where(
    where: ArrayLike | None, shape: tuple[int, ...], axis: int
) -> tuple[jax.Array | None, jax.Array | None]:
    """Splits `where` for logits of `shape` into a mask of classes and a mask of examples.

    Args:
      where: full rank for classes, one rank less for examples, or None.
      shape: of the logits.
      axis: the class axis, not negative.

    Returns:
      `(classes, rows)`: `classes` broadcasts to the logits with the class axis moved last; `rows`
      has their shape without that axis, and is False also for a row whose classes are all masked.

    Raises:
      ValueError: another rank, a shape that does not broadcast, a mask of floating point.
    """
    if where is None:
        return None, None
    leading = shape[:axis] + shape[axis + 1 :]
    if jnp.ndim(where) == len(shape):
        mask = as_mask(where, shape, "the logits of shape")
        classes = jnp.moveaxis(mask, axis, -1)
        rows = jnp.any(jnp.broadcast_to(classes, (*leading, shape[axis])), axis=-1)
        return classes, rows
    if jnp.ndim(where) == len(leading):
        mask = as_mask(where, leading, "the examples, of shape")
        return None, jnp.broadcast_to(mask, leading)
    raise ValueError(
        f"where must have the rank of the logits (a mask of classes) or one rank less (a mask of "
        f"examples): got where of shape {jnp.shape(where)} for logits of shape {shape}"
    )


def _sparse_pair(
    student: jax.Array,
    teacher: SparseLogits,
    temperature: ArrayLike,
    axis: int,
    where: ArrayLike | None,
) -> Paired:
    if where is not None and jnp.ndim(where) == student.ndim:
        raise ValueError(
            f"where of shape {jnp.shape(where)} masks classes, but the classes in the tail of a "
            "SparseLogits teacher can no longer be separated: mask them in the teacher's logits "
            "before they are stored, and in the student's"
        )
    _, rows = split_where(where, student.shape, axis)
    student = jnp.moveaxis(student, axis, -1)
    check_sparse(teacher, student.shape)
    dtype = compute_dtype(student, jnp.asarray(teacher.logits))
    buckets, is_declared = teacher_buckets(teacher, temperature, dtype)
    buckets = jax.lax.stop_gradient(buckets)
    # Masked before the tail is formed: a NaN must not enter the student's logsumexp.
    student = mask_logits(temper(student, temperature, dtype), None, rows)
    student = student_buckets(student, jnp.asarray(teacher.indices))
    return Paired(student, mask_logits(buckets, None, rows), rows, is_declared)


def check_same_logits(student: jax.Array, teacher: jax.Array, axis: int) -> None:
    """Refuses logits of two shapes.

    Args:
      student: logits.
      teacher: logits.
      axis: the class axis, not negative.

    Raises:
      ValueError: shapes that differ; names both.
    """
    both = f"student logits of shape {student.shape}, teacher logits of shape {teacher.shape}"
    if student.ndim != teacher.ndim:
        raise ValueError(f"student and teacher must have the same rank: {both}")
    if student.shape[axis] != teacher.shape[axis]:
        raise ValueError(
            f"student has {student.shape[axis]} classes and teacher {teacher.shape[axis]} along "
            f"axis {axis}: {both}; map one set of classes onto the other first "
            "(a padded vocabulary is cut by jaxkd.networks.valid_classes)"
        )
    if student.shape != teacher.shape:
        raise ValueError(f"student and teacher must have the same shape: {both}")
