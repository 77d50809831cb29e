"""KD: Hinton's distillation of softened probabilities."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term, is_traced
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
    distil = Term(losses.kd, weight=alpha, temperature=temperature)
    if callable(alpha):
        return Objective(label=Term(losses.cross_entropy, weight=lambda t: 1 - alpha(t)), kd=distil)
    if not is_traced(alpha):
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], not {alpha}")
        if alpha == 1:
            return Objective(kd=distil)
    return Objective(label=Term(losses.cross_entropy, weight=1 - alpha), kd=distil)


KD = Recipe(
    "kd",
    kd,
    "Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.",
)
