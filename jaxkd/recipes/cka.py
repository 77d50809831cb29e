"""CKA: centered kernel alignment as a loss."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def cka(*, weight: float | Schedule = 1.0, label_weight: float = 1.0) -> Objective:
    """Maximizes the centered kernel alignment of embeddings (CKA).

    Args:
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `cka`.

    Example:
      >>> objective = cka(weight=0.5)
      >>> objective.terms["cka"].student, objective.terms["cka"].weight
      ('embedding', 0.5)

    Reference:
      Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019, used as a
      loss.
    """
    term = Term(losses.cka, weight, None, "embedding", "embedding")
    return with_labels(label_weight, cka=term)


CKA = Recipe(
    "cka",
    cka,
    "Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019, used as "
    "a loss.",
)
