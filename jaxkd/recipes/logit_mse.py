"""Regression of logits."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def logit_mse(*, weight: float | Schedule = 1.0, label_weight: float = 1.0) -> Objective:
    """Regresses the teacher's logits.

    Args:
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `logit_mse`.

    Example:
      >>> objective = logit_mse(weight=0.1, label_weight=0.0)
      >>> list(objective.terms), objective.terms["logit_mse"].weight
      (['logit_mse'], 0.1)

    Reference:
      Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014.
    """
    return with_labels(label_weight, logit_mse=Term(losses.logit_mse, weight=weight))


LOGIT_MSE = Recipe(
    "logit_mse",
    logit_mse,
    "Ba and Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014.",
)
