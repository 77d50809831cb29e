"""Training on labels alone, the baseline."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Term, is_traced
from jaxkd.recipes._recipe import Recipe


def labels(*, label_smoothing: float = 0.0) -> Objective:
    """Trains on the labels alone: what a student learns without a teacher.

    Args:
      label_smoothing: share of the target spread over all classes (Szegedy et al., 2016).

    Returns:
      An objective with the term `label`.

    Raises:
      ValueError: label_smoothing outside of [0, 1].

    Example:
      >>> list(labels().terms)
      ['label']

    Reference:
      Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016 (label
      smoothing).
    """
    if not is_traced(label_smoothing) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")
    loss = functools.partial(losses.cross_entropy, label_smoothing=label_smoothing)
    return Objective(label=Term(loss))


LABELS = Recipe(
    "labels",
    labels,
    "Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016 (label "
    "smoothing).",
)
