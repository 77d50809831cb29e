"""KD: Hinton's distillation of softened probabilities."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import shared_with_labels
from jaxkd.recipes._recipe import Recipe


def kd(*, alpha: float | Schedule = 0.9, temperature: float | Schedule = 4.0) -> Objective:
    """Distills softened probabilities: `alpha T² KL(teacher‖student) + (1 - alpha) CE`.

    Args:
      alpha: weight of the teacher, from 0 (labels alone) to 1 (the teacher alone: no labels are
        needed); a number or an optax schedule.
      temperature: T, positive; a number or an optax schedule.

    Returns:
      An objective with the terms `label` and `kd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1].

    Example:
      >>> list(kd(alpha=0.9, temperature=4.0).terms), list(kd(alpha=1.0).terms)
      (['label', 'kd'], ['kd'])

    Reference:
      Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    return shared_with_labels(alpha, kd=Term(losses.kd, weight=alpha, temperature=temperature))


KD = Recipe(
    "kd",
    kd,
    "Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.",
)
