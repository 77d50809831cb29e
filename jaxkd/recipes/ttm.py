"""TTM and WTTM: transformed teacher matching."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def ttm(
    *, gamma: float = 0.1, weight: float | Schedule = 1.0, label_weight: float = 1.0
) -> Objective:
    """Matches a power transform of the teacher's probabilities (TTM).

    Args:
      gamma: exponent of the teacher's probabilities, 1 / T.
      weight: weight of the term; the authors choose one for every pair of networks.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `ttm`.

    Example:
      >>> objective = ttm(gamma=0.25, weight=10.0)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 1.0, 'ttm': 10.0}

    Reference:
      Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024.
    """
    loss = functools.partial(losses.ttm, gamma=gamma)
    return with_labels(label_weight, ttm=Term(loss, weight=weight))


def wttm(
    *, gamma: float = 0.1, weight: float | Schedule = 1.0, label_weight: float = 1.0
) -> Objective:
    """Matches transformed probabilities with a weight for each example (WTTM).

    Args:
      gamma: exponent of the teacher's probabilities, 1 / T.
      weight: weight of the term; the authors choose one for every pair of networks.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `wttm`.

    Example:
      >>> objective = wttm(gamma=0.25, weight=10.0)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 1.0, 'wttm': 10.0}

    Reference:
      Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024.
    """
    loss = functools.partial(losses.wttm, gamma=gamma)
    return with_labels(label_weight, wttm=Term(loss, weight=weight))


TTM = Recipe(
    "ttm",
    ttm,
    "Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024.",
)
WTTM = Recipe(
    "wttm",
    wttm,
    "Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024.",
)
