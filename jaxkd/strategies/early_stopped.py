"""Distillation that ends before the training does."""

import jax.numpy as jnp

from jaxkd import recipes
from jaxkd.objective import Objective, Schedule


def early_stopped(
    stop_step: int, *, alpha: float = 0.9, temperature: float | Schedule = 4.0
) -> Objective:
    """Distills up to some step, and learns from the labels alone afterwards.

    It helps where a large teacher is useful at first and holds a small student back in the end. An
    online teacher goes on running; two phases would save it but start the optimizer anew.

    Args:
      stop_step: the first step without the teacher.
      alpha: weight of the teacher before that step.
      temperature: temperature as in `recipes.kd`.

    Returns:
      An objective with the terms `label` and `kd`.

    Raises:
      ValueError: a step before the first one, alpha outside of [0, 1].

    Example:
      >>> weight = early_stopped(100, alpha=0.9).terms["kd"].weight
      >>> [f"{float(weight(step)):.1f}" for step in (0, 99, 100)]
      ['0.9', '0.9', '0.0']

    Reference:
      Cho and Hariharan, On the Efficacy of Knowledge Distillation, ICCV 2019.
    """
    if stop_step < 1:
        raise ValueError(f"stop_step must be at least 1, not {stop_step}: use recipes.labels")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], not {alpha}")
    return recipes.kd(
        alpha=lambda step: jnp.where(step < stop_step, alpha, 0.0), temperature=temperature
    )
