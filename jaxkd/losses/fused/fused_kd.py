"""Hinton's distillation with the cross entropy of the labels, in one pass over the head."""

from __future__ import annotations

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
    """Returns the loss `alpha T^2 KL(p || q) + (1 - alpha) CE` on `(hidden, head)`.

    Logits are computed once for both parts. `where` alone selects the tokens that count. One
    without a label (-1) has no label part and keeps its distillation part: both parts are divided
    by the same count. In language modeling, where labels are missing only where `where` is False,
    this makes no difference; where few of many tokens are labeled, use two terms,
    `fused_linear(kd)` and `fused_linear(cross_entropy)`, each with its own count, at the cost of
    one more product with the head.

    Args:
      alpha: weight of the teacher, in [0, 1]; at 1 no labels are needed.
      temperature: default of the loss's parameter `temperature`, which may be traced.
      **options: options of `fused_linear`: `chunk_size`, `soft_cap`, `teacher_soft_cap`,
        `valid_classes`, `token_axes`.

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
        distilled = kd(student, teacher, temperature=temperature)
        return alpha * distilled + (1 - alpha) * cross_entropy(student, labels)

    return fused_linear(distillation_and_labels, unlabeled=True, **options)
