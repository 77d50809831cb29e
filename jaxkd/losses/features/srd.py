"""Simple-recipe distillation: a linear projector, batch normalization and the log of a sum."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses._feature_pairs import unit
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses.features._positions import check_power
from jaxkd.losses.relations._rows import Rows, centered, paired_rows


@couples_examples
def srd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    exponent: ArrayLike = 4.0,
    normalize: bool = True,
    norm_epsilon: ArrayLike = 1e-4,
    epsilon: ArrayLike = 1e-16,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes simple-recipe distillation, `log(sum(|student - teacher|**exponent) + epsilon)`.

    Both sides are first normalized over the batch, each feature to mean 0 and variance 1, without
    running averages, scale or shift. The sum runs over examples and features, so the value grows
    with the size of the batch; the gradient does not. It couples the examples of the batch.

    The authors have no epsilon: the loss is minus infinity at student = teacher, and its gradient
    grows without bound near it. The default keeps the published loss until all differences are
    about 1e-4, bounds it below by -37, and makes the gradient 0 at student = teacher; for the
    default exponent, rounding errors are too small to matter. The authors' weight is 2, beside a
    divergence of the logits at temperature 1; other code adds that divergence at higher
    temperatures without the factor `temperature**2`.

    Args:
      student: pooled embeddings behind the projector, `[batch, width]`; more axes are flattened.
      teacher: embeddings of the same shape.
      exponent: power of the differences, 1 or more.
      normalize: whether to normalize here; False for embeddings that the networks normalize.
      norm_epsilon: positive scalar that is added to the variance.
      epsilon: positive scalar that is added inside the logarithm.
      where: boolean `[batch]`, the examples that enter statistics and sum; the loss is 0 if there
        are none.

    Returns:
      A scalar, often negative, float32 at least.

    Raises:
      ValueError: shapes that differ, an exponent below 1, an epsilon that is not positive, a mask
        that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[0.0], [1.0]]), jnp.array([[2.0], [0.0]])
      >>> print(f"{losses.srd(student, teacher, normalize=False):.3f}")
      2.833

    References:
      Miles and Mikolajczyk, Understanding the Role of the Projector in Knowledge Distillation, AAAI
      2024; the authors' code for convolutional networks.
    """
    check_power("exponent", exponent)
    check_positive("norm_epsilon", norm_epsilon)
    check_positive("epsilon", epsilon)
    rows = paired_rows(student, teacher, where, same_width=True)
    sides = [rows.student, rows.teacher]
    if normalize:
        sides = [_batch_normalized(side, rows, norm_epsilon) for side in sides]
    differences = sides[0] - sides[1]
    # The absolute value has a slope of 1 at 0, which the logarithm would multiply by 1 / epsilon.
    sizes = jnp.where(differences == 0, 0, jnp.abs(differences))
    return _log_sum(sizes, exponent, epsilon, rows)


@couples_examples
def srd_correlation(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    exponent: ArrayLike = 4.0,
    epsilon: ArrayLike = 1e-5,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the recipe for transformers, `log(sum((1 - c)**exponent) + epsilon)`.

    `c` is the correlation over the batch of each feature of the student with the same feature of
    the teacher, to which the authors' batch normalization without epsilon is equivalent. A feature
    that is constant over the batch on either side, and any feature of a single example, counts as
    uncorrelated, without gradient. The loss couples the examples of the batch.

    Args:
      student: pooled embeddings behind the projector, `[batch, width]`; more axes are flattened.
      teacher: embeddings of the same shape.
      exponent: power of the distances, 1 or more.
      epsilon: positive scalar that is added inside the logarithm.
      where: boolean `[batch]`, the examples over which correlations are taken; the loss is 0 if
        there are none.

    Returns:
      A scalar, often negative, float32 at least.

    Raises:
      ValueError: shapes that differ, an exponent below 1, an epsilon that is not positive, a mask
        that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[0.0], [1.0], [5.0]])
      >>> print(f"{losses.srd_correlation(student, -3 * student):.3f}")
      2.773

    References:
      Miles and Mikolajczyk, Understanding the Role of the Projector in Knowledge Distillation, AAAI
      2024; the authors' code for DeiT.
    """
    check_power("exponent", exponent)
    check_positive("epsilon", epsilon)
    rows = paired_rows(student, teacher, where, same_width=True)
    (student_columns, varies), (teacher_columns, teacher_varies) = (
        unit(centered(side, rows.selected, rows.number), 0) for side in (rows.student, rows.teacher)
    )
    # Half the squared distance of unit vectors is 1 - c, exactly 0 where they are equal.
    gaps = 0.5 * jnp.sum(jnp.square(student_columns - teacher_columns), axis=0)
    return _log_sum(jnp.where(varies & teacher_varies, gaps, 1), exponent, epsilon, rows)


def _batch_normalized(side: jax.Array, rows: Rows, epsilon: ArrayLike) -> jax.Array:
    """Returns each feature with mean 0 and variance 1 over the selected rows."""
    side = centered(side, rows.selected, rows.number)
    variance = jnp.sum(jnp.square(side), axis=0) / rows.number
    return side / jnp.sqrt(variance + jnp.asarray(epsilon, side.dtype))


def _log_sum(sizes: jax.Array, exponent: ArrayLike, epsilon: ArrayLike, rows: Rows) -> jax.Array:
    """Returns `log(sum(sizes**exponent) + epsilon)`, 0 without any selected row."""
    exponent, epsilon = (jnp.asarray(value, sizes.dtype) for value in (exponent, epsilon))
    # The powers of large differences overflow, their logarithms do not.
    scale = jnp.maximum(jax.lax.stop_gradient(jnp.max(sizes)), 1)
    total = jnp.log(jnp.sum((sizes / scale) ** exponent) + epsilon * scale**-exponent)
    return jnp.where(jnp.any(rows.selected), total + exponent * jnp.log(scale), 0)
