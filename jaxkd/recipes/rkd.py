"""RKD: relational knowledge distillation."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def rkd(
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    label_weight: float = 1.0,
) -> Objective:
    """Matches distances and angles between embeddings (RKD).

    Args:
      distance_weight: weight of the distances.
      angle_weight: weight of the angles.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `rkd`.

    Example:
      >>> objective = rkd(distance_weight=1.0, angle_weight=2.0)
      >>> list(objective.terms), sorted(objective.student_outputs)
      (['label', 'rkd'], ['embedding', 'logits'])

    Reference:
      Park et al., Relational Knowledge Distillation, CVPR 2019.
    """
    loss = functools.partial(losses.rkd, distance_weight=distance_weight, angle_weight=angle_weight)
    term = Term(loss, 1.0, None, "embedding", "embedding")
    return with_labels(label_weight, rkd=term)


RKD = Recipe(
    "rkd",
    rkd,
    "Park et al., Relational Knowledge Distillation, CVPR 2019.",
)
