"""DeiT: distillation through a token of its own."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term, is_traced
from jaxkd.recipes._recipe import Recipe


def deit(
    *,
    alpha: float | Schedule = 0.5,
    soft: bool = False,
    temperature: float | Schedule = 3.0,
    label_smoothing: float = 0.0,
) -> Objective:
    """Teaches the class token the labels, the distillation token the teacher's class (DeiT).

    `(1 - alpha) CE(class_logits, labels) + alpha CE(distillation_logits, argmax teacher)`; softly,
    the last is `temperature² KL(teacher‖distillation_logits)`. The student predicts the mean of the
    two, its `logits`.

    Args:
      alpha: weight of the teacher, from 0 to 1; a number or an optax schedule.
      soft: whether the teacher's probabilities are learned in place of its most probable class; the
        authors then take an alpha of 0.1.
      temperature: temperature of the soft variant; a number or an optax schedule. The hard one has
        none.
      label_smoothing: share of the labels' target spread over all classes, 0.1 in the paper; the
        teacher's class is not smoothed.

    Returns:
      An objective with the terms `label` and `deit`; without `label` if alpha is 1. The student has
      the outputs `class_logits` and `distillation_logits`, as a `jaxkd.models.VisionTransformer`
      with `distillation_token=True` does.

    Raises:
      ValueError: alpha or label_smoothing outside of [0, 1].

    Example:
      >>> list(deit().terms), deit().terms["deit"].student
      (['label', 'deit'], 'distillation_logits')

    Reference:
      Touvron et al., Training data-efficient image transformers & distillation through attention,
      ICML 2021. Their code divides the soft term by the number of classes as well.
    """
    for name, value in {"alpha": alpha, "label_smoothing": label_smoothing}.items():
        if not callable(value) and not is_traced(value) and not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], not {value}")
    if soft:
        distil = Term(losses.kd, alpha, temperature, "distillation_logits")
    else:
        distil = Term(losses.hard_kd, alpha, student="distillation_logits")
    if not callable(alpha) and not is_traced(alpha) and alpha == 1:
        return Objective(deit=distil)
    weight = (lambda step: 1 - alpha(step)) if callable(alpha) else 1 - alpha
    loss = functools.partial(losses.cross_entropy, label_smoothing=label_smoothing)
    return Objective(label=Term(loss, weight, student="class_logits"), deit=distil)


DEIT = Recipe(
    "deit",
    deit,
    "Touvron et al., Training data-efficient image transformers & distillation through attention, "
    "ICML 2021.",
    student_outputs=("class_logits", "distillation_logits"),
)
