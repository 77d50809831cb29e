"""DeiT: distillation through a token of its own."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import check_share, shared_with_labels
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
    check_share("alpha", alpha)
    check_share("label_smoothing", label_smoothing)
    if soft:
        distil = Term(losses.kd, alpha, temperature, "distillation_logits")
    else:
        distil = Term(losses.hard_kd, alpha, student="distillation_logits")
    loss = functools.partial(losses.cross_entropy, label_smoothing=label_smoothing)
    return shared_with_labels(alpha, loss, "class_logits", deit=distil)


DEIT = Recipe(
    "deit",
    deit,
    "Touvron et al., Training data-efficient image transformers & distillation through attention, "
    "ICML 2021.",
    student_outputs=("class_logits", "distillation_logits"),
)
