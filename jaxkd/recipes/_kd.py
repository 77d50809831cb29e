"""Labels alone, and Hinton's distillation."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term, is_traced


def labels(*, label_smoothing: float = 0.0) -> Objective:
    """Plain supervised training: what a student learns without a teacher.

    Args:
      label_smoothing: share of the target spread over all classes (Szegedy et al., 2016).

    Returns:
      An objective with the term `label`.

    Raises:
      ValueError: label_smoothing outside of [0, 1].

    Example:
      >>> list(labels().terms)
      ['label']
    """
    if not is_traced(label_smoothing) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")
    loss = functools.partial(losses.cross_entropy, label_smoothing=label_smoothing)
    return Objective(label=Term(loss))


def kd(*, alpha: float | Schedule = 0.9, temperature: float | Schedule = 4.0) -> Objective:
    """Hinton's distillation: `alpha T² KL(teacher‖student) + (1 - alpha) CE`.

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
