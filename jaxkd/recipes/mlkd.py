"""MLKD: multi-level logit distillation."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def mlkd(
    *,
    temperatures: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0),
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
) -> Objective:
    """Compares logits of one view by example, batch and class (MLKD).

    The authors add a second, strongly augmented view: `losses.mlkd_two_views`.

    Their weights are for 100 classes and batches of 64. The class level (`losses.mlkd_class`)
    starts at about 1.0 there and at 43 with ten classes, where it outweighs the labels so far that
    a student may collapse. On ten classes of clothes students of 4 epochs reached 67.2 % of
    validation images with the weight 1, and 86.3 % with 0.1 or 0.02
    (`benchmarks/methods_tuned.py`).

    Args:
      temperatures: at each of which the three levels are compared.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `mlkd`.

    Example:
      >>> objective = mlkd(temperatures=(2.0, 4.0), weight=0.1)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 1.0, 'mlkd': 0.1}

    Reference:
      Jin et al., Multi-Level Logit Distillation, CVPR 2023.
    """
    loss = functools.partial(losses.mlkd, temperatures=temperatures)
    return with_labels(label_weight, mlkd=Term(loss, weight=weight))


MLKD = Recipe(
    "mlkd",
    mlkd,
    "Jin et al., Multi-Level Logit Distillation, CVPR 2023.",
)
