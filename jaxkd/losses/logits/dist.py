"""Distillation by correlation: of an example's classes, and of a class's examples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import mask_rows
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._numerics import safe_sqrt
from jaxkd.losses._reduce import masked_mean
from jaxkd.losses.logits._probabilities import paired_probabilities

# The authors' constant, added to the product of norms: a constant row correlates with nothing.
_EPSILON = 1e-8


@couples_examples
def dist(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    beta: ArrayLike = 1.0,
    gamma: ArrayLike = 1.0,
    temperature: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes DIST, `temperature**2 * (beta inter + gamma intra)` with Pearson's correlation r.

    Couples the examples of the batch: a scalar. Inter is the mean over examples of `1 - r` between
    the rows of the two softmaxes, intra the mean over classes of `1 - r` between their columns.

    As in the authors' code for ImageNet, the square of the temperature multiplies both terms (the
    paper's appendix and the code for segmentation leave it out), and 1e-8 is added to the product
    of the norms. A row or column that is constant, such as every column of a batch of one example,
    has correlation 0 and so costs 1; where probabilities vary by less than about 1e-4, the 1e-8
    keeps even equal ones from reaching 1.

    Args:
      student: logits `[batch, num_classes]`.
      teacher: logits `[batch, num_classes]`.
      beta: weight of the correlation between classes; may be traced.
      gamma: weight of the correlation between examples; may be traced.
      temperature: positive scalar that divides both logits; may be traced. 4 on CIFAR-100, 1 on
        ImageNet.
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
      >>> teacher = jnp.array([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
      >>> print(f"{losses.dist(teacher + 5.0, teacher, temperature=1.0):.3f}")
      0.000
      >>> print(f"{losses.dist(-teacher, teacher, temperature=1.0):.3f}")
      3.837

    References:
      Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022 (the authors' code,
      image_classification_sota).
    """
    pair, count = paired_probabilities(student, teacher, temperature, where)
    q, p = pair.student, pair.teacher
    divisor = jnp.maximum(count, 1)

    rows_q, rows_p = (x - jnp.mean(x, axis=1, keepdims=True) for x in (q, p))
    inter = masked_mean(1 - _cosine(rows_q, rows_p, axis=1), pair.rows)
    # The rows that take no part are 0 in the sum, and again after the mean has been subtracted.
    columns_q, columns_p = (
        mask_rows(x - jnp.sum(x, axis=0, keepdims=True) / divisor, pair.rows) for x in (q, p)
    )
    intra = jnp.mean(1 - _cosine(columns_q, columns_p, axis=0))

    beta, gamma, temperature = (jnp.asarray(x, q.dtype) for x in (beta, gamma, temperature))
    loss = jnp.square(temperature) * (beta * inter + gamma * intra)
    return jnp.where(count > 0, loss, 0)


def _cosine(a: jax.Array, b: jax.Array, axis: int) -> jax.Array:
    norms = safe_sqrt(jnp.sum(jnp.square(a), axis)) * safe_sqrt(jnp.sum(jnp.square(b), axis))
    return jnp.sum(a * b, axis) / (norms + _EPSILON)
