"""Hinton's distillation with the cross entropy of the labels, in one pass over the head."""

from collections.abc import Callable
from typing import Any

import jax
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight
from jaxkd.losses.cross_entropy import cross_entropy
from jaxkd.losses.fused.fused_linear import fused_linear
from jaxkd.losses.logits.kd import kd


def fused_kd(
    *, alpha: float = 1.0, temperature: ArrayLike = 4.0, **options: Any
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Makes `alpha T^2 KL(p || q) + (1 - alpha) CE` of `(hidden, head)`, logits computed once.

    Which tokens count is for `where` alone to say. One without a label (-1) has no label part and
    keeps its distillation part: both parts are divided by the same count. In language modeling
    labels are missing where `where` is False, and it is all one; where few of many tokens are
    labeled, use two terms, `fused_linear(kd)` and `fused_linear(cross_entropy)`, which have a count
    each, and a product with the head more.

    Args:
      alpha: the weight of the teacher, in [0, 1]; at 1 no labels are needed.
      temperature: T, a default: the loss takes another, which may be traced.
      **options: of `fused_linear`: `chunk_size`, `soft_cap`, `teacher_soft_cap`, `valid_classes`,
        `token_axes`.

    Returns:
      `loss(student, teacher, labels, *, temperature=..., where=None) -> (sum, count)`, without
      `labels` if alpha is 1; see `fused_linear`.

    Raises:
      ValueError: alpha outside [0, 1]; as `fused_linear`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> hidden, head, teacher = jnp.eye(2), jnp.eye(2), jnp.array([[2.0, 0.0], [0.0, 1.0]])
      >>> loss = losses.fused_kd(alpha=0.5, temperature=2.0)
      >>> total, count = loss((hidden, head), teacher, jnp.array([0, -1]))
      >>> print(f"{total:.3f}", int(count))
      0.209 2

    References:
      Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    check_weight("alpha", alpha, below_one=False)
    default = temperature
    if alpha == 1:

        def distillation(student, teacher, *, temperature=default):
            return kd(student, teacher, temperature=temperature)

        return fused_linear(distillation, **options)

    def distillation_and_labels(student, teacher, labels, *, temperature=default):
        taught = kd(student, teacher, temperature=temperature)
        return alpha * taught + (1 - alpha) * cross_entropy(student, labels)

    return fused_linear(distillation_and_labels, unlabeled=True, **options)
