"""Distillation of a class for each pixel."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import shared_with_labels
from jaxkd.recipes._recipe import Recipe


def dense_kd(
    *,
    alpha: float | Schedule = 0.5,
    temperature: float | Schedule = 1.0,
    class_weights: Sequence[float] | None = None,
    channel_weight: float | Schedule = 0.0,
    channel_temperature: float | Schedule = 4.0,
    output: str = "logits",
) -> Objective:
    """Distills each pixel, `alpha T² KL(teacher‖student) + (1 - alpha) CE`, and maps of classes.

    Logits are `[batch, height, width, num_classes]`, labels `[batch, height, width]`, -1 where
    there is none. Means are over the pixels of all images, of CE over those that have a label; both
    networks have maps of one size.

    Args:
      alpha: weight of the teacher, from 0 (labels alone) to 1 (the teacher alone: no labels are
        needed, unless there are class weights); a number or an optax schedule.
      temperature: T, positive; a number or an optax schedule.
      class_weights: `[num_classes]`, weights of the pixels by the class of their label, in both
        means (`losses.class_weighted`); those without a label are then left out of both.
      channel_weight: weight of channel-wise distillation of the logits (`losses.cwd`), the
        distribution of every class over the image; 3 in the paper, 0 for none.
      channel_temperature: temperature of its softmax over the places.
      output: name of the output with the logits, of both networks.

    Returns:
      An objective with the terms `label` and `dense_kd`, and `channels` where it has a weight;
      without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1], weights that are no vector of numbers from 0 up.

    Example:
      >>> list(dense_kd(class_weights=[1.0, 8.0], channel_weight=3.0).terms)
      ['label', 'dense_kd', 'channels']

    Reference:
      Liu et al., Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019 (the
      pixels); Shu et al., Channel-Wise Knowledge Distillation for Dense Prediction, ICCV 2021 (the
      channels).
    """
    label: Callable[..., Any] = losses.cross_entropy
    distil: Callable[..., Any] = losses.kd
    if class_weights is not None:
        weighted = functools.partial(losses.class_weighted, weights=class_weights)
        label, distil = weighted(label), weighted(distil)
    terms = {"dense_kd": Term(distil, alpha, temperature, student=output, teacher=output)}
    if callable(channel_weight) or channel_weight:
        terms["channels"] = Term(losses.cwd, channel_weight, channel_temperature, output, output)
    return shared_with_labels(alpha, label, output, **terms)


DENSE_KD = Recipe(
    "dense_kd",
    dense_kd,
    "Liu et al., Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019 (the "
    "pixels); Shu et al., Channel-Wise Knowledge Distillation for Dense Prediction, ICCV 2021 (the "
    "channels).",
    task="pixels",
)
