"""RLD: refined logits."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import warmed_up, with_labels
from jaxkd.recipes._recipe import Recipe


def rld(
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    alpha_temperature: float = 1.0,
    temperature: float | Schedule = 4.0,
    label_weight: float = 1.0,
    steps: int | None = None,
) -> Objective:
    """Distills logits that the labels refine (RLD).

    Args:
      alpha: weight of the student's target against the teacher's first choice.
      beta: weight of the classes that the teacher ranks below the target.
      alpha_temperature: temperature of the first part.
      temperature: temperature of the second.
      label_weight: weight of the cross entropy with the labels.
      steps: number of steps of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `rld`.

    Example:
      >>> objective = rld(beta=4.0, steps=240)
      >>> [float(objective.terms["rld"].weight(step)) for step in (0, 10, 20)]
      [0.0, 0.5, 1.0]

    Reference:
      Sun et al., Knowledge Distillation with Refined Logits, 2024.
    """
    loss = functools.partial(
        losses.rld, alpha=alpha, beta=beta, alpha_temperature=alpha_temperature
    )
    term = Term(loss, weight=warmed_up(1.0, steps, 20 / 240), temperature=temperature)
    return with_labels(label_weight, rld=term)


RLD = Recipe(
    "rld",
    rld,
    "Sun et al., Knowledge Distillation with Refined Logits, 2024.",
)
