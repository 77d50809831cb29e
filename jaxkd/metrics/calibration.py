"""Whether a network is as confident as it is right: likelihood, reliability, calibration error."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics._validation import (
    check_labeled_logits,
    check_logits,
    log_softmax,
    top_probability,
)


@dataclasses.dataclass(frozen=True)
class Reliability:
    """The accuracy of predictions by their confidence.

    Attributes:
      edges: borders of the confidence bins, `[num_bins + 1]`, from 0 to 1.
      confidence: mean confidence of the predictions in each bin, `[num_bins]`; nan in an empty bin.
      accuracy: fraction of them that are right, `[num_bins]`; nan in an empty bin.
      count: number of predictions in each bin, `[num_bins]`.

    Example:
      >>> result = reliability([[0.0, 0.0], [100.0, 0.0]], [0, 0], num_bins=2)
      >>> result.edges, result.confidence, result.accuracy
      (array([0. , 0.5, 1. ]), array([0.5, 1. ]), array([1., 1.]))
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """The mean gap between confidence and accuracy, weighted by the bins' counts."""
        gap = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(gap * self.count) / self.count.sum())


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Computes the mean of −log p(label), in nats.

    Args:
      logits: `[n, num_classes]`.
      labels: integer classes, `[n]`.

    Returns:
      The mean over the examples; infinite if a label has no probability at all.

    Raises:
      ValueError: the shapes do not fit, or a label is not a class.

    Example:
      >>> negative_log_likelihood([[0.0, 0.0]], [1])
      0.6931471805599453
    """
    logits, labels = check_labeled_logits(logits, labels)
    return float(-np.mean(log_softmax(logits)[np.arange(labels.size), labels]))


def confidence(logits: ArrayLike) -> float:
    """Computes the mean probability of the predicted class.

    Args:
      logits: `[n, num_classes]`.

    Returns:
      A fraction, 1 / num_classes to 1.

    Raises:
      ValueError: the logits are not `[n, num_classes]` with n of at least one, or hold a nan.

    Example:
      >>> confidence([[0.0, 0.0], [100.0, 0.0]])
      0.75
    """
    return float(np.mean(top_probability(check_logits("logits", logits))))


def reliability(logits: ArrayLike, labels: ArrayLike, *, num_bins: int = 15) -> Reliability:
    """Sorts predictions into bins of equal width by confidence.

    A bin includes its upper border, as in the paper: with ten bins, 0.2 belongs to (0.1, 0.2].

    Args:
      logits: `[n, num_classes]`.
      labels: integer classes, `[n]`.
      num_bins: number of bins from 0 to 1.

    Returns:
      Confidence, accuracy and count of each bin.

    Raises:
      ValueError: the shapes do not fit, a label is not a class, or `num_bins` is below one.

    Example:
      >>> reliability([[0.0, 0.0], [100.0, 0.0]], [1, 0], num_bins=2).count
      array([1, 1])

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017.
      https://arxiv.org/abs/1706.04599
    """
    logits, labels = check_labeled_logits(logits, labels)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    top = top_probability(logits)
    right = logits.argmax(-1) == labels
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    divisor = np.where(count > 0, count, np.nan)
    return Reliability(
        edges=edges,
        confidence=np.bincount(bins, weights=top, minlength=num_bins) / divisor,
        accuracy=np.bincount(bins, weights=right, minlength=num_bins) / divisor,
        count=count,
    )


def expected_calibration_error(
    logits: ArrayLike, labels: ArrayLike, *, num_bins: int = 15
) -> float:
    """Computes the mean gap between confidence and accuracy over bins of confidence (ECE).

    Args:
      logits: `[n, num_classes]`.
      labels: integer classes, `[n]`.
      num_bins: number of bins from 0 to 1.

    Returns:
      A fraction, 0 (calibrated) to 1.

    Raises:
      ValueError: the shapes do not fit, a label is not a class, or `num_bins` is below one.

    Example:
      >>> expected_calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 0])  # confidence 0.5, accuracy 1
      0.5

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017.
      https://arxiv.org/abs/1706.04599
    """
    return reliability(logits, labels, num_bins=num_bins).expected_calibration_error
