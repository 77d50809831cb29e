"""LSKD: distillation of standardized logits."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def lskd(
    *,
    temperature: float | Schedule = 2.0,
    weight: float | Schedule = 9.0,
    label_weight: float = 0.1,
) -> Objective:
    """Distills standardized logits (LSKD).

    Args:
      temperature: the base temperature.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `lskd`.

    Example:
      >>> objective = lskd(temperature=3.0)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 0.1, 'lskd': 9.0}

    Reference:
      Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.
    """
    term = Term(losses.lskd, weight=weight, temperature=temperature)
    return with_labels(label_weight, lskd=term)


LSKD = Recipe(
    "lskd",
    lskd,
    "Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.",
)
