"""Token KD: a divergence of the logits beside the labels."""

from collections.abc import Callable
from typing import Any

import jax

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.objective.term import at_step
from jaxkd.recipes._common import shared_with_labels
from jaxkd.recipes._recipe import Recipe


def token_kd(
    *,
    divergence: Callable[..., jax.Array] = losses.kl_divergence,
    alpha: float | Schedule = 0.5,
    temperature: float | Schedule = 1.0,
) -> Objective:
    """Distills tokens by any divergence: `alpha T² D(teacher, student) + (1 - alpha) CE`.

    Args:
      divergence: `losses.kl_divergence`, `losses.reverse_kl_divergence`,
        `losses.symmetric_kl_divergence`, `losses.js_divergence`, `losses.total_variation`,
        `losses.skew_kl_divergence`, `losses.skew_reverse_kl_divergence`, `losses.adaptive_kl`, or a
        `functools.partial` of one; none that has the factor T² already.
      alpha: weight of the teacher, from 0 to 1, where no labels are needed; a number or an optax
        schedule.
      temperature: T, positive; a number or an optax schedule.

    Returns:
      An objective with the terms `label` and `token_kd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1], a divergence without temperature.

    Example:
      >>> import functools
      >>> js = functools.partial(losses.js_divergence, beta=0.1)
      >>> list(token_kd(divergence=js).terms), list(token_kd(alpha=1.0).terms)
      (['label', 'token_kd'], ['token_kd'])

    Reference:
      Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    scheduled = callable(alpha) or callable(temperature)

    def weight(step: Any) -> Any:
        return at_step(alpha, step) * at_step(temperature, step) ** 2

    distil = Term(divergence, weight if scheduled else weight(0), temperature)
    return shared_with_labels(alpha, token_kd=distil)


TOKEN_KD = Recipe(
    "language.token_kd",
    token_kd,
    "Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.",
)
