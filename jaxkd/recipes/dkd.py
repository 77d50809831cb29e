"""DKD: decoupled knowledge distillation."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import check_share, warmed_up, with_labels
from jaxkd.recipes._recipe import Recipe


def dkd(
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float | Schedule = 4.0,
    label_weight: float = 1.0,
    steps: int | None = None,
    warmup_share: float = 20 / 240,
) -> Objective:
    """Distills the target class and the other classes apart (DKD).

    Args:
      alpha: weight of the target class against the rest.
      beta: weight of the classes among the rest; 2, 6 or 8 by pair of networks.
      temperature: T.
      label_weight: weight of the cross entropy with the labels.
      steps: number of steps of the whole training; without it there is no warm-up.
      warmup_share: share of the steps in which the weight rises to 1; the authors' 20 of 240 epochs
        for CIFAR, 1 of 100 for ImageNet.

    Returns:
      An objective with the terms `label` and `dkd`.

    Raises:
      ValueError: warmup_share outside of [0, 1], fewer than one step.

    Example:
      >>> list(dkd(beta=6.0).terms)
      ['label', 'dkd']

    Reference:
      Zhao et al., Decoupled Knowledge Distillation, CVPR 2022.
    """
    check_share("warmup_share", warmup_share)
    loss = functools.partial(losses.dkd, alpha=alpha, beta=beta)
    term = Term(loss, weight=warmed_up(1.0, steps, warmup_share), temperature=temperature)
    return with_labels(label_weight, dkd=term)


DKD = Recipe(
    "dkd",
    dkd,
    "Zhao et al., Decoupled Knowledge Distillation, CVPR 2022.",
)
