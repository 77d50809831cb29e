"""Correlation congruence: as in the authors' code, and with the kernels of their paper."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_positive
from jaxkd.losses._kinds import couples_examples
from jaxkd.losses._numerics import safe_sqrt
from jaxkd.losses.relations._rows import gram, paired_rows


@couples_examples
def cc(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    learned_teacher: bool = False,
) -> jax.Array:
    """Computes correlation congruence as the authors' code: products of consecutive rows' errors.

    With `e` the absolute differences of student and teacher, the mean over the `batch - 1` pairs of
    neighbors in the batch of `sum(e[i] * e[i + 1])`. It depends on the order of the batch, and is
    not the loss of the paper, which is `cc_kernel`. The code weights it with 0.02. Couples the
    examples of the batch: a scalar.

    Args:
      student: embeddings `[batch, ...]`.
      teacher: embeddings of the same shape.
      where: boolean `[batch]`; neighbors are the selected rows that follow each other when the
        others are left out.
      learned_teacher: whether `teacher` comes out of a layer that trains beside the student, and so
        receives a gradient.

    Returns:
      A scalar, float32 at least; 0 for a single example.

    Raises:
      ValueError: shapes that differ, no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[1.0, 0.0], [2.0, 3.0], [0.0, 1.0]])
      >>> losses.cc(student, jnp.zeros((3, 2)))
      Array(2.5, dtype=float32)

    References:
      Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019; the code of
      RepDistiller, which its authors gave.
    """
    rows = paired_rows(student, teacher, where, same_width=True, learned_teacher=learned_teacher)
    # Selected rows first, in their order; the others, which are zeros, end the chain.
    order = jnp.argsort(~rows.selected, stable=True)
    errors = jnp.abs(rows.student - rows.teacher)[order]
    products = jnp.sum(errors[:-1] * errors[1:], axis=1)
    return jnp.sum(products) / jnp.maximum(rows.number - 1, 1)


@couples_examples
def cc_kernel(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    kernel: Literal["gaussian", "bilinear"] = "gaussian",
    gamma: ArrayLike = 0.4,
    order: int = 2,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes correlation congruence with a kernel: the distance of the two kernel matrices.

    `||K_s - K_t||_F / batch**2`, with `K` either the inner products of the examples ("bilinear") or
    `exp(-2 gamma) * sum_p (2 gamma)**p / p! * (x . y)**p` for p from 0 to `order` ("gaussian"): the
    Taylor series of `exp(-gamma ||x - y||**2)` for rows of length 1. The rows are not normalized
    here. The norm is not squared, as in torchdistill; the paper's equation squares it. Couples the
    examples of the batch: a scalar.

    Args:
      student: embeddings `[batch, ...]`, flattened; the widths may differ.
      teacher: embeddings `[batch, ...]`.
      kernel: "gaussian" or "bilinear".
      gamma: sharpness of the Gaussian kernel, a positive scalar.
      order: order of its Taylor series, at least 1.
      where: boolean `[batch]`; only the selected rows are related to each other.

    Returns:
      A scalar, float32 at least; without gradient where the matrices are equal.

    Raises:
      ValueError: another kernel, a gamma or an order that is not positive, batch sizes that differ,
        no feature axis, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> teacher = jnp.array([[1.0, 0.0], [1.0, 0.0]])
      >>> print(f"{losses.cc_kernel(jnp.eye(2), teacher, kernel='bilinear'):.4f}")
      0.3536

    References:
      Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019; the code of
      torchdistill.
    """
    if kernel not in ("gaussian", "bilinear"):
        raise ValueError(f'kernel must be "gaussian" or "bilinear", got {kernel!r}')
    check_positive("gamma", gamma)
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}: the kernel would be a constant")
    rows = paired_rows(student, teacher, where)
    student_products, teacher_products = gram(rows.student), gram(rows.teacher)
    if kernel == "gaussian":
        difference = _gaussian_difference(student_products, teacher_products, gamma, order)
    else:
        difference = student_products - teacher_products
    # Rows that take no part have products 0 on both sides, and so no difference.
    return safe_sqrt(jnp.sum(jnp.square(difference))) / jnp.square(rows.number)


def _gaussian_difference(x: jax.Array, y: jax.Array, gamma: ArrayLike, order: int) -> jax.Array:
    """Computes the difference of the Gaussian kernels of products x and y, exactly 0 where x = y.

    Horner's scheme, for the series in x and for its difference from that in y: subtracting two
    finished series leaves rounding errors, from which the norm would make a gradient of length 1.

    Returns:
      The difference, of the shape of x and y.
    """
    gamma = jnp.asarray(gamma, x.dtype)
    series, difference = jnp.ones_like(x), jnp.zeros_like(x)
    for power in range(order, 0, -1):
        factor = 2 * gamma / power
        difference = factor * ((x - y) * series + y * difference)
        series = 1 + factor * x * series
    return jnp.exp(-2 * gamma) * difference
