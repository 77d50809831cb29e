"""DIST: correlations within and between classes."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def dist(
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float | Schedule = 4.0,
    weight: float | Schedule = 2.0,
    label_weight: float = 1.0,
) -> Objective:
    """Matches correlations within and between classes (DIST).

    Args:
      beta: weight of the correlation over the classes of an example.
      gamma: weight of the correlation over the examples of a class.
      temperature: tau; 1 for ImageNet.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `dist`.

    Example:
      >>> objective = dist(temperature=1.0)
      >>> list(objective.terms), objective.terms["dist"].temperature
      (['label', 'dist'], 1.0)

    Reference:
      Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022.
    """
    loss = functools.partial(losses.dist, beta=beta, gamma=gamma)
    return with_labels(label_weight, dist=Term(loss, weight=weight, temperature=temperature))


DIST = Recipe(
    "dist",
    dist,
    "Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022.",
)
