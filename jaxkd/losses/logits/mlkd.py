"""Multi-level logit distillation: of examples, batch and classes, at several temperatures."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import batch_mask, gathered
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses._numerics import compute_dtype
from jaxkd.losses._reduce import masked_mean
from jaxkd.losses.logits._probabilities import paired_probabilities
from jaxkd.losses.logits.kd import kd


@couples_examples
def mlkd_batch(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the batch level of MLKD, `||P P^T - Q Q^T||**2 / batch`.

    It compares how similar the examples are to each other. Couples the examples of the batch: a
    scalar. P and Q are the softmaxes `[batch, num_classes]` of teacher and student at the
    temperature. No factor `temperature**2`, as in the authors' code.

    Args:
      student: logits `[batch, num_classes]`.
      teacher: logits `[batch, num_classes]`.
      temperature: positive scalar that divides both logits; may be traced.
      where: boolean `[batch]`; the loss is that of the selected examples alone, 0 if there is none.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: logits that are not `[batch, num_classes]` or differ in shape, a mask that is not
        `[batch]`, a temperature that is not positive and finite.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> alike, apart = jnp.zeros((2, 2)), jnp.array([[90.0, 0.0], [0.0, 90.0]])
      >>> losses.mlkd_batch(alike, apart, temperature=1.0)
      Array(0.5, dtype=float32)

    References:
      Jin et al., Multi-Level Logit Distillation, CVPR 2023 (the authors' code, `bc_loss`).
    """
    pair, count = paired_probabilities(student, teacher, temperature, where)
    q, p = gathered(pair.student), gathered(pair.teacher)
    return jnp.sum(jnp.square(_gram(p) - _gram(q))) / jnp.maximum(count, 1)


@couples_examples
def mlkd_class(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the class level of MLKD, `||P^T P - Q^T Q||**2 / num_classes`.

    It compares which classes are predicted together. Couples the examples of the batch: a scalar. P
    and Q are as for `mlkd_batch`. The products are sums over the batch, so that the loss grows with
    the square of its size, as in the authors' code, whose weights are for batches of 64 and 100
    classes. Between a teacher that is sure and a student of equal probabilities it is the sum over
    classes of their squared numbers of examples, minus `batch**2 / num_classes**2`, divided by
    `num_classes`: 1.04 in the mean there, and 42.6 with ten classes.

    Args:
      student: logits `[batch, num_classes]`.
      teacher: logits `[batch, num_classes]`.
      temperature: positive scalar that divides both logits; may be traced.
      where: boolean `[batch]`; the loss is that of the selected examples alone.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: as `mlkd_batch`.
      TypeError: as `mlkd_batch`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> alike, apart = jnp.zeros((2, 2)), jnp.array([[90.0, 0.0], [0.0, 90.0]])
      >>> losses.mlkd_class(alike, apart, temperature=1.0)
      Array(0.5, dtype=float32)

    References:
      Jin et al., Multi-Level Logit Distillation, CVPR 2023 (the authors' code, `cc_loss`).
    """
    pair, _ = paired_probabilities(student, teacher, temperature, where)
    q, p = gathered(pair.student), gathered(pair.teacher)
    return jnp.sum(jnp.square(_gram(p.T) - _gram(q.T))) / q.shape[1]


@couples_examples
def mlkd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes multi-level logit distillation of one view: `kd`, `mlkd_batch` and `mlkd_class`.

    Couples the examples of the batch: a scalar, the sum over the temperatures of the mean of `kd`,
    the batch level and the class level. This is the paper's loss; over the weak and the strong view
    of each image it is added up. The authors' code does something else: see `mlkd_two_views`.

    Args:
      student: logits `[batch, num_classes]`.
      teacher: logits `[batch, num_classes]`.
      temperatures: positive numbers, at least one.
      where: boolean `[batch]`; the loss is that of the selected examples alone, 0 if there is none.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: no temperature or one that is not positive and finite, logits that are not
        `[batch, num_classes]` or differ in shape, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> teacher = jnp.array([[2.0, 0.0], [0.0, 1.0]])
      >>> losses.mlkd(teacher, teacher)
      Array(0., dtype=float32)
      >>> print(f"{losses.mlkd(-teacher, teacher, temperatures=(1.0,)):.3f}")
      1.082

    References:
      Jin et al., Multi-Level Logit Distillation, CVPR 2023.
    """
    if len(temperatures) == 0:
        raise ValueError("temperatures must have at least one element, got none")
    terms = []
    for temperature in temperatures:
        # The coupled levels come first, since they check that the logits are those of one batch.
        terms += [
            level(student, teacher, temperature=temperature, where=where)
            for level in (mlkd_batch, mlkd_class, _mean_kd)
        ]
    return sum(terms[1:], terms[0])


@couples_examples
def mlkd_two_views(
    student: tuple[ArrayLike, ArrayLike],
    teacher: tuple[ArrayLike, ArrayLike],
    *,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes MLKD of a weak and a strong view as the authors' code does.

    Couples the examples of the batch: a scalar. The published accuracies are those of this loss;
    the paper's is `mlkd(weak) + mlkd(strong)`. At the temperatures 2, 3, 5, 6 and `temperature`:

    - `kd` of the weak view is averaged and then multiplied by a fraction: that of the examples on
      which the teacher's largest probability (weak view, temperature 1) is at most the median,
      about half where confidences are distinct. Presumably only these were meant to be kept;
    - `kd` of the strong view is not multiplied, and uses the weak view at the temperatures 2 and 6;
    - `mlkd_batch` is that of the weak view alone, multiplied by the same fraction, and `mlkd_class`
      likewise, by that of the classes whose summed probability is at most the median.

    The code adds cross entropy with the labels on both views, which is no part of this loss.

    Args:
      student: logits of the weak and of the strong view, both `[batch, num_classes]`.
      teacher: logits of the teacher on both views.
      temperature: positive scalar, the one of the five that is not fixed; may be traced.
      where: boolean `[batch]`; the loss is that of the selected examples alone, 0 if there is none.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: not two views on both sides, and as `mlkd`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> weak, strong = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> losses.mlkd_two_views((weak, strong), (weak, strong))
      Array(0., dtype=float32)
      >>> print(f"{losses.mlkd_two_views((weak, weak), (weak, strong)):.3f}")
      0.862

    References:
      Jin et al., Multi-Level Logit Distillation, CVPR 2023 (the authors' code, `KD_ours`).
    """
    if not len(student) == len(teacher) == 2:
        raise ValueError(
            f"student and teacher are pairs (weak, strong) of logits, got {len(student)} and "
            f"{len(teacher)} arrays"
        )
    (weak_student, strong_student), (weak_teacher, strong_teacher) = student, teacher
    confidence, _ = paired_probabilities(weak_teacher, weak_teacher, 1.0, where)
    rows = None if where is None else batch_mask(where, confidence.teacher.shape)
    of_examples = _share_up_to_the_median(jnp.max(confidence.teacher, axis=1), rows)
    of_classes = _share_up_to_the_median(jnp.sum(confidence.teacher, axis=0), None)

    total = jnp.zeros((), compute_dtype(*map(jnp.asarray, (*student, *teacher))))
    for level, strong in (
        (temperature, True),
        (3.0, True),
        (5.0, True),
        (2.0, False),
        (6.0, False),
    ):
        of_batch, of_class = (
            loss(weak_student, weak_teacher, temperature=level, where=where)
            for loss in (mlkd_batch, mlkd_class)
        )
        weak = other = _mean_kd(weak_student, weak_teacher, temperature=level, where=where)
        if strong:
            other = _mean_kd(strong_student, strong_teacher, temperature=level, where=where)
        total += of_examples * (weak + of_batch) + of_classes * of_class + other
    return total


def _gram(rows: jax.Array) -> jax.Array:
    # Nearly equal products are subtracted, which accelerators round to less than float32.
    return jnp.matmul(rows, rows.T, precision="highest")


def _mean_kd(
    student: ArrayLike, teacher: ArrayLike, *, temperature: ArrayLike, where: ArrayLike | None
) -> jax.Array:
    return masked_mean(kd(student, teacher, temperature=temperature, where=where), where)


def _share_up_to_the_median(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Returns the fraction of the selected values `[n]` that are at most their median."""
    values = gathered(jax.lax.stop_gradient(values))
    where = jnp.ones(values.shape, bool) if where is None else gathered(where)
    count = jnp.sum(where)
    ordered = jnp.sort(jnp.where(where, values, jnp.inf))
    # For an odd count both are the middle element, which the comparison must keep exactly.
    low = jnp.take(ordered, jnp.maximum(count - 1, 0) // 2)
    high = jnp.take(ordered, jnp.minimum(count // 2, values.size - 1))
    is_low = keep_rows(values <= 0.5 * low + 0.5 * high, where)
    return jnp.sum(is_low, dtype=values.dtype) / jnp.maximum(count, 1).astype(values.dtype)
