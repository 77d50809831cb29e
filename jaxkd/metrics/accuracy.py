"""Accuracy, of all examples and of each class."""

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics._validation import check_labeled_logits, check_pair


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Computes the fraction of examples whose largest logit is that of the label.

    Of equal logits the first counts.

    Args:
      logits: `[n, num_classes]`; probabilities or log-probabilities do as well.
      labels: integer classes, `[n]`.

    Returns:
      A fraction, 0 to 1.

    Raises:
      ValueError: the shapes do not fit, or a label is not a class.

    Example:
      >>> accuracy([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]], [0, 1, 1])
      0.6666666666666666
    """
    logits, labels = check_labeled_logits(logits, labels)
    return float(np.mean(logits.argmax(-1) == labels))


def class_accuracy(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Computes the accuracy on the examples of each class (recall).

    Args:
      logits: `[n, num_classes]`.
      labels: integer classes, `[n]`.

    Returns:
      Fractions, `[num_classes]`; nan for a class without examples.

    Raises:
      ValueError: the shapes do not fit, or a label is not a class.

    Example:
      >>> class_accuracy([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]], [0, 1, 1])
      array([1. , 0.5])
    """
    logits, labels = check_labeled_logits(logits, labels)
    count = np.bincount(labels, minlength=logits.shape[-1])
    right = np.bincount(labels[logits.argmax(-1) == labels], minlength=logits.shape[-1])
    return np.divide(right, count, out=np.full(count.shape, np.nan), where=count > 0)


def class_gains(logits: ArrayLike, baseline: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Computes the gain in accuracy of one network over another, on the examples of each class.

    Args:
      logits: logits of the network, `[n, num_classes]`.
      baseline: logits of the network that it is compared with, `[n, num_classes]`.
      labels: integer classes, `[n]`.

    Returns:
      Differences of `class_accuracy`, `[num_classes]`, −1 to 1; nan for a class without examples.

    Raises:
      ValueError: the shapes do not fit, or a label is not a class.

    Example:
      >>> class_gains([[2.0, 1.0], [0.0, 3.0]], [[2.0, 1.0], [4.0, 0.0]], [0, 1])
      array([0., 1.])
    """
    logits, baseline = check_pair(logits, baseline, ("logits", "baseline"))
    return class_accuracy(logits, labels) - class_accuracy(baseline, labels)
