"""PKT: probabilistic knowledge transfer."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def pkt(*, weight: float | Schedule = 3e4, label_weight: float = 1.0) -> Objective:
    """Matches the probabilities of neighbors in the space of embeddings (PKT).

    Args:
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `pkt`.

    Example:
      >>> objective = pkt(weight=1e4)
      >>> list(objective.terms), sorted(objective.teacher_outputs)
      (['label', 'pkt'], ['embedding'])

    Reference:
      Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV
      2018.
    """
    term = Term(losses.pkt, weight, None, "embedding", "embedding")
    return with_labels(label_weight, pkt=term)


PKT = Recipe(
    "pkt",
    pkt,
    "Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, "
    "ECCV 2018.",
)
