"""Distillation of sigmoids: one logit, or several classes of which any number may be right."""

import functools

from jax.typing import ArrayLike

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import check_share, shared_with_labels
from jaxkd.recipes._recipe import Recipe


def binary_kd(
    *,
    alpha: float | Schedule = 0.9,
    temperature: float | Schedule = 4.0,
    pos_weight: ArrayLike = 1.0,
    label_smoothing: float = 0.0,
    output: str = "logits",
) -> Objective:
    """Distills each sigmoid by itself: `alpha T² KL(teacher‖student) + (1 - alpha) BCE`.

    KL is that of two Bernoulli distributions, BCE the binary cross entropy with labels 0, 1 or -1
    (unknown); both are means over the entries, BCE over those that are known. Networks have one
    logit, `[batch]` or `[batch, 1]`, or one for each of several labels, `[batch, num_classes]`.

    Args:
      alpha: weight of the teacher, from 0 (labels alone) to 1 (the teacher alone: no labels are
        needed); a number or an optax schedule.
      temperature: T, positive; a number or an optax schedule.
      pos_weight: weight of the label 1 in BCE, above 1 where it is rare; a number, or an array
        `[num_classes]`.
      label_smoothing: share of a label that is spread evenly over 0 and 1.
      output: name of the output with the logits, of both networks.

    Returns:
      An objective with the terms `label` and `binary_kd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha or label_smoothing outside of [0, 1].

    Example:
      >>> list(binary_kd().terms), list(binary_kd(alpha=1.0).terms)
      (['label', 'binary_kd'], ['binary_kd'])

    Reference:
      Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, with a sigmoid in
      place of the softmax.
    """
    check_share("label_smoothing", label_smoothing)
    loss = functools.partial(
        losses.binary_cross_entropy, pos_weight=pos_weight, label_smoothing=label_smoothing
    )
    distil = Term(losses.binary_kd, alpha, temperature, student=output, teacher=output)
    return shared_with_labels(alpha, loss, output, binary_kd=distil)


BINARY_KD = Recipe(
    "binary_kd",
    binary_kd,
    "Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, with a sigmoid in "
    "place of the softmax.",
    task="binary",
)
