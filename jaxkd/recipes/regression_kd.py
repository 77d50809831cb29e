"""Distillation of values."""

import functools

from jaxkd import losses
from jaxkd.losses._arguments import check_positive
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import shared_with_labels
from jaxkd.recipes._recipe import Recipe


def regression_kd(
    *,
    alpha: float | Schedule = 0.5,
    delta: float | None = None,
    output: str = "logits",
) -> Objective:
    """Distills values: `alpha (student - teacher)² + (1 - alpha) (student - label)²`.

    Means are over the values, `[batch]`, `[batch, 1]` or `[batch, values]`; those of labels over
    the examples that have one. Standardize labels first: their unit is that of the loss.

    Args:
      alpha: weight of the teacher, from 0 (labels alone) to 1 (the teacher alone: no labels are
        needed); a number or an optax schedule.
      delta: difference from which on both losses are linear (Huber), in place of the squares; None
        for the squares.
      output: name of the output with the values, of both networks.

    Returns:
      An objective with the terms `label` and `regression_kd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1], a delta that is not positive.

    Example:
      >>> list(regression_kd().terms), list(regression_kd(alpha=1.0).terms)
      (['label', 'regression_kd'], ['regression_kd'])

    Reference:
      Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014, of values in place of
      logits.
    """
    label, distil = losses.squared_error, losses.regression_kd
    if delta is not None:
        check_positive("delta", delta)
        label = functools.partial(losses.huber_loss, delta=delta)
        distil = functools.partial(losses.regression_kd, delta=delta)
    term = Term(distil, alpha, student=output, teacher=output)
    return shared_with_labels(alpha, label, output, regression_kd=term)


REGRESSION_KD = Recipe(
    "regression_kd",
    regression_kd,
    "Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014, of values in place of "
    "logits.",
    task="values",
)
