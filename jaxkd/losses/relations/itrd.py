"""Information-theoretic distillation: a correlation term and a mutual-information term."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses._feature_pairs import unit
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses.relations._rows import centered, gram, paired_rows


@couples_examples
def itrd_correlation(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    alpha: ArrayLike = 1.5,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the correlation term of ITRD, `log2(sum_d |c_d - 1|**(2 alpha))` over features d.

    `c_d` is the correlation over the batch of the student's feature d with the teacher's, times
    `(batch - 1) / batch`: the authors' code divides by standard deviations over `batch - 1` and
    then by `batch`. So the loss never reaches minus infinity; its lowest value depends on the batch
    size: it is `log2(width) - 2 alpha log2(batch)` at student = teacher, without gradient. Couples
    the examples of the batch: a scalar.

    A feature that is constant over the batch on either side, and any feature of a single example,
    counts as uncorrelated and has no gradient; the authors' code gives NaN.

    Args:
      student: embeddings `[batch, ...]`; the authors apply a linear map first, whatever the width.
      teacher: embeddings of the same shape.
      alpha: order of the Renyi entropy, a positive scalar; the authors use 1.01 for wide students.
      where: boolean `[batch]`; correlations are taken over the selected rows.

    Returns:
      A scalar, often negative, float32 at least.

    Raises:
      ValueError: shapes that differ, no feature axis, an alpha that is not positive, a mask that is
        not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[0.0], [1.0], [2.0], [3.0]])
      >>> print(f"{losses.itrd_correlation(student, 2 * student, alpha=1.0):.3f}")
      -4.000

    References:
      Miles et al., Information Theoretic Representation Distillation, BMVC 2022; the authors' code,
      which weights it with 2.
    """
    check_positive("alpha", alpha)
    rows = paired_rows(student, teacher, where, same_width=True)
    student_columns, teacher_columns = (
        unit(centered(side, rows.selected, rows.number), 0)[0]
        for side in (rows.student, rows.teacher)
    )
    correlation = jnp.sum(student_columns * teacher_columns, axis=0)
    # Never below 1 / n, so neither the power nor the logarithm has a pole.
    gaps = 1 - correlation * (rows.number - 1) / rows.number
    exponent = 2 * jnp.asarray(alpha, gaps.dtype)
    return jnp.log2(jnp.sum(gaps**exponent))


@couples_examples
def itrd_mutual(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the mutual-information term of ITRD, `sum(G_s**2) - sum(G_st**2)`.

    `G_s` and `G_t` are the matrices of cosines between the examples, `G_st` their elementwise
    product, each divided by its trace. The authors' code, which is followed here, has the sums
    without the logarithms that the paper writes. Not 0 at student = teacher: the product is smaller
    off the diagonal. Couples the examples of the batch: a scalar.

    Args:
      student: embeddings `[batch, ...]`, flattened; the widths may differ.
      teacher: embeddings `[batch, ...]`.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least. Rows of zeros have no cosines and no gradient.

    Raises:
      ValueError: batch sizes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.itrd_mutual(jnp.ones((2, 3)), jnp.eye(2))
      Array(0.5, dtype=float32)

    References:
      Miles et al., Information Theoretic Representation Distillation, BMVC 2022; the authors' code.
    """
    rows = paired_rows(student, teacher, where)
    student_gram, teacher_gram = (gram(unit(side)[0]) for side in (rows.student, rows.teacher))
    return _purity(student_gram) - _purity(student_gram * teacher_gram)


@couples_examples
def itrd(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    correlation_weight: ArrayLike = 2.0,
    mutual_weight: ArrayLike = 1.0,
    alpha: ArrayLike = 1.5,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the weighted sum of `itrd_correlation` and `itrd_mutual`.

    The weights are the authors'. Their code maps the student's embedding linearly to the teacher's
    width: for the first term always, for the second only if the widths differ. Here both terms take
    the embeddings as they are. Couples the examples of the batch: a scalar.

    Args:
      student: embeddings `[batch, ...]`.
      teacher: embeddings of the same shape.
      correlation_weight: weight of `itrd_correlation`.
      mutual_weight: weight of `itrd_mutual`.
      alpha: `alpha` of `itrd_correlation`.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least.

    Raises:
      ValueError: shapes that differ, no feature axis, an alpha that is not positive, a mask that is
        not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[0.0], [1.0], [2.0], [3.0]])
      >>> print(f"{losses.itrd(student, student, alpha=1.0):.3f}")
      -8.000

    References:
      Miles et al., Information Theoretic Representation Distillation, BMVC 2022; the authors' code.
    """
    correlation = itrd_correlation(student, teacher, alpha=alpha, where=where)
    mutual = itrd_mutual(student, teacher, where=where)
    correlation_weight, mutual_weight = jnp.asarray(correlation_weight), jnp.asarray(mutual_weight)
    return (correlation_weight * correlation + mutual_weight * mutual).astype(mutual.dtype)


def _purity(matrix: jax.Array) -> jax.Array:
    """Returns the sum of squares of the matrix over its trace; 0 if the trace is 0."""
    trace = jnp.trace(matrix)
    return jnp.sum(jnp.square(matrix / jnp.where(trace > 0, trace, 1)))
