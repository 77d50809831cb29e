"""CTKD: curriculum temperature."""

import jax

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import check_steps, shared_with_labels
from jaxkd.recipes._recipe import Recipe


def ctkd(
    *,
    start: float = 1.0,
    span: float = 20.0,
    alpha: float = 0.9,
    steps: int | None = None,
) -> Objective:
    """Distills at a temperature that is learned against the student (CTKD).

    Args:
      start: the lowest temperature.
      span: what the learned part adds at most.
      alpha: weight of the teacher, from 0 to 1, `1 - alpha` of the cross entropy.
      steps: number of steps of the whole training; the reversal grows over 10 of 240 epochs.
        Without it the temperature is learned at full strength from the start.

    Returns:
      An objective with the terms `label` and `ctkd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1], fewer than one step.

    Example:
      >>> objective = ctkd(span=10.0, alpha=0.5, steps=240)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 0.5, 'ctkd': 0.5}

    Reference:
      Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023.
    """
    check_steps(steps)
    strength = losses.curriculum_schedule(max(1, steps * 10 // 240)) if steps else lambda step: -1.0

    def ctkd(student, teacher, theta, *, step):
        temperature = start + span * jax.nn.sigmoid(losses.reverse_gradient(theta, strength(step)))
        return losses.kd(student, teacher, temperature=temperature)

    term = Term(ctkd, alpha, connector=connectors.LearnedScalar("theta", 1.0))
    return shared_with_labels(alpha, ctkd=term)


CTKD = Recipe(
    "ctkd",
    ctkd,
    "Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023.",
)
