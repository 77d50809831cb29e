"""F1, which weighs hits against misses and false alarms."""

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics._validation import check_labeled_logits


def f1(logits: ArrayLike, labels: ArrayLike) -> float:
    """Computes the F1 of the second of two classes, or the mean of those of more classes.

    The F1 of a class is the harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`. A
    class that is neither among the labels nor predicted has 0.

    Args:
      logits: `[n, num_classes]`; probabilities or log-probabilities do as well.
      labels: integer classes, `[n]`.

    Returns:
      A score, 0 to 1.

    Raises:
      ValueError: the shapes do not fit, or a label is not a class.

    Example:
      >>> f1([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]], [0, 1, 1])
      0.6666666666666666
    """
    logits, labels = check_labeled_logits(logits, labels)
    predictions, num_classes = logits.argmax(-1), logits.shape[-1]
    right = np.bincount(labels[predictions == labels], minlength=num_classes)
    total = sum(np.bincount(classes, minlength=num_classes) for classes in (labels, predictions))
    scores = np.divide(2.0 * right, total, out=np.zeros(num_classes), where=total > 0)
    return float(scores[1] if num_classes == 2 else scores.mean())
