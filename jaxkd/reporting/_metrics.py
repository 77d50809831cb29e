"""What a set of logits is worth: accuracy, calibration and agreement, in NumPy."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often predictions of each confidence are right.

    Attributes:
      edges: Borders of the confidence bins, `[num_bins + 1]`, from 0 to 1.
      confidence: Mean confidence of the predictions in each bin, `[num_bins]`; nan in an empty bin.
      accuracy: Fraction of them that are right, `[num_bins]`; nan in an empty bin.
      count: Number of predictions in each bin, `[num_bins]`.
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


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Fraction of examples whose largest logit is at the label; of equal logits the first counts.

    Args:
      logits: `[n, num_classes]`; probabilities or log-probabilities will do as well.
      labels: Integer classes, `[n]`.

    Returns:
      A fraction, 0 to 1.

    Raises:
      ValueError: The shapes do not fit, or a label is not a class.

    Example:
      >>> accuracy([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]], [0, 1, 1])
      0.6666666666666666
    """
    logits, labels = _check(logits, labels)
    return float(np.mean(logits.argmax(-1) == labels))


def class_accuracy(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Accuracy on the examples of each class (recall).

    Args:
      logits: `[n, num_classes]`.
      labels: Integer classes, `[n]`.

    Returns:
      Fractions, `[num_classes]`; nan for a class without examples.

    Raises:
      ValueError: The shapes do not fit, or a label is not a class.

    Example:
      >>> class_accuracy([[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]], [0, 1, 1])
      array([1. , 0.5])
    """
    logits, labels = _check(logits, labels)
    count = np.bincount(labels, minlength=logits.shape[-1])
    right = np.bincount(labels[logits.argmax(-1) == labels], minlength=logits.shape[-1])
    return np.divide(right, count, out=np.full(count.shape, np.nan), where=count > 0)


def class_gains(logits: ArrayLike, baseline: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """How much more often a network is right than another, on the examples of each class.

    Args:
      logits: Of the network, `[n, num_classes]`.
      baseline: Of the one that it is compared with, `[n, num_classes]`.
      labels: Integer classes, `[n]`.

    Returns:
      Differences of `class_accuracy`, `[num_classes]`, −1 to 1; nan for a class without examples.

    Raises:
      ValueError: The shapes do not fit, or a label is not a class.

    Example:
      >>> class_gains([[2.0, 1.0], [0.0, 3.0]], [[2.0, 1.0], [4.0, 0.0]], [0, 1])
      array([0., 1.])
    """
    logits, baseline = _check_pair(logits, baseline, ("logits", "baseline"))
    return class_accuracy(logits, labels) - class_accuracy(baseline, labels)


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean of −log p(label), in nats.

    Args:
      logits: `[n, num_classes]`.
      labels: Integer classes, `[n]`.

    Returns:
      The mean over the examples; infinite if a label has no probability at all.

    Raises:
      ValueError: The shapes do not fit, or a label is not a class.

    Example:
      >>> negative_log_likelihood([[0.0, 0.0]], [1])
      0.6931471805599453
    """
    logits, labels = _check(logits, labels)
    return float(-np.mean(_log_softmax(logits)[np.arange(labels.size), labels]))


def confidence(logits: ArrayLike) -> float:
    """Mean probability of the predicted class.

    Args:
      logits: `[n, num_classes]`.

    Returns:
      A fraction, 1 / num_classes to 1.

    Raises:
      ValueError: The logits are not `[n, num_classes]` with n of at least one, or hold a nan.

    Example:
      >>> confidence([[0.0, 0.0], [100.0, 0.0]])
      0.75
    """
    return float(np.mean(_top_probability(_check_logits("logits", logits))))


def reliability(logits: ArrayLike, labels: ArrayLike, *, num_bins: int = 15) -> Reliability:
    """Sorts predictions into bins of equal width by confidence.

    A bin holds its upper border, as in the paper: with ten bins, 0.2 belongs to (0.1, 0.2].

    Args:
      logits: `[n, num_classes]`.
      labels: Integer classes, `[n]`.
      num_bins: Number of bins from 0 to 1.

    Returns:
      Confidence, accuracy and count of each bin.

    Raises:
      ValueError: The shapes do not fit, a label is not a class, or `num_bins` is below one.

    Example:
      >>> reliability([[0.0, 0.0], [100.0, 0.0]], [1, 0], num_bins=2).count
      array([1, 1])

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017.
      https://arxiv.org/abs/1706.04599
    """
    logits, labels = _check(logits, labels)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}.")
    top = _top_probability(logits)
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
    """Mean gap between confidence and accuracy over bins of confidence (ECE).

    Args:
      logits: `[n, num_classes]`.
      labels: Integer classes, `[n]`.
      num_bins: Number of bins from 0 to 1.

    Returns:
      A fraction, 0 (calibrated) to 1.

    Raises:
      ValueError: The shapes do not fit, a label is not a class, or `num_bins` is below one.

    Example:
      >>> expected_calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 0])  # Says 0.5, and is right.
      0.5

    References:
      Guo et al., On Calibration of Modern Neural Networks, 2017.
      https://arxiv.org/abs/1706.04599
    """
    return reliability(logits, labels, num_bins=num_bins).expected_calibration_error


def agreement(student: ArrayLike, teacher: ArrayLike) -> float:
    """Fraction of examples for which two networks predict the same class.

    Args:
      student: Logits of one, `[n, num_classes]`.
      teacher: Logits of the other, `[n, num_classes]`.

    Returns:
      A fraction, 0 to 1.

    Raises:
      ValueError: The shapes differ.

    Example:
      >>> agreement([[2.0, 1.0], [0.0, 3.0]], [[5.0, 0.0], [1.0, 0.0]])
      0.5
    """
    student, teacher = _check_pair(student, teacher)
    return float(np.mean(student.argmax(-1) == teacher.argmax(-1)))


def mean_kl_divergence(
    student: ArrayLike, teacher: ArrayLike, *, temperature: float = 1.0
) -> float:
    """Mean of KL(teacher ‖ student) over the examples, in nats.

    Args:
      student: Logits, `[n, num_classes]`.
      teacher: Logits, `[n, num_classes]`.
      temperature: Divides both logits.

    Returns:
      The mean, not multiplied by the squared temperature; infinite if the student rules out a class
      that the teacher allows.

    Raises:
      ValueError: The shapes differ, or the temperature is not positive.

    Example:
      >>> mean_kl_divergence([[0.0, 0.0]], [[100.0, 0.0]])
      0.6931471805599453
    """
    student, teacher = _check_pair(student, teacher)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    log_q, log_p = _log_softmax(student / temperature), _log_softmax(teacher / temperature)
    # Where the teacher gives no probability the limit of p log p is 0, not 0 * inf.
    gap = np.subtract(log_p, log_q, out=np.zeros_like(log_p), where=log_p > -np.inf)
    return float(np.mean(np.sum(np.exp(log_p) * gap, axis=-1)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _top_probability(logits: np.ndarray) -> np.ndarray:
    # The largest logit, shifted, is 0, and its exponential 1.
    return 1.0 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)


def _check_logits(name: str, logits: ArrayLike) -> np.ndarray:
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape [n, num_classes], got {list(array.shape)}.")
    if np.isnan(array).any() or (array.max(-1) == -np.inf).any() or (array == np.inf).any():
        raise ValueError(f"{name} hold nan or +inf, or a row of −inf alone, and give no answer.")
    return array


def _check(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = _check_logits("logits", logits), np.asarray(labels)
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels must have shape [n] with the n of the logits: "
            f"got labels {list(labels.shape)} and logits {list(logits.shape)}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    if labels.min() < 0 or labels.max() >= logits.shape[-1]:
        raise ValueError(
            f"labels must be classes 0 to {logits.shape[-1] - 1}, "
            f"got {labels.min()} to {labels.max()}."
        )
    return logits, labels


def _check_pair(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str] = ("student", "teacher")
) -> tuple[np.ndarray, np.ndarray]:
    first, second = _check_logits(names[0], first), _check_logits(names[1], second)
    if first.shape != second.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same shape, "
            f"got {list(first.shape)} and {list(second.shape)}."
        )
    return first, second
