"""WSLD: weighted soft labels."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def wsld(
    *,
    temperature: float | Schedule = 4.0,
    weight: float | Schedule = 2.25,
    label_weight: float = 1.0,
) -> Objective:
    """Weights the soft labels of each example by what its label still teaches (WSLD).

    Args:
      temperature: T.
      weight: weight of the term, the authors' alpha.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `wsld`.

    Example:
      >>> objective = wsld(temperature=2.0)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 1.0, 'wsld': 2.25}

    Reference:
      Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
      Perspective, ICLR 2021.
    """
    term = Term(losses.wsld, weight=weight, temperature=temperature)
    return with_labels(label_weight, wsld=term)


WSLD = Recipe(
    "wsld",
    wsld,
    "Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff "
    "Perspective, ICLR 2021.",
)
