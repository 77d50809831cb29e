"""Logits and labels that fit each other, and the softmax of logits."""

import numpy as np
from numpy.typing import ArrayLike


def check_logits(name: str, logits: ArrayLike) -> np.ndarray:
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape [n, num_classes], got {list(array.shape)}")
    if np.isnan(array).any() or (array.max(-1) == -np.inf).any() or (array == np.inf).any():
        raise ValueError(f"{name} have nan or +inf, or a row of −inf alone")
    return array


def check_labeled_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = check_logits("logits", logits), np.asarray(labels)
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels must have shape [n] with the n of the logits: "
            f"got labels {list(labels.shape)} and logits {list(logits.shape)}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= logits.shape[-1]:
        raise ValueError(
            f"labels must be classes 0 to {logits.shape[-1] - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )
    return logits, labels


def check_pair(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str] = ("student", "teacher")
) -> tuple[np.ndarray, np.ndarray]:
    first, second = check_logits(names[0], first), check_logits(names[1], second)
    if first.shape != second.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same shape, "
            f"got {list(first.shape)} and {list(second.shape)}"
        )
    return first, second


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def top_probability(logits: np.ndarray) -> np.ndarray:
    # The largest logit, shifted, is 0, and its exponential 1.
    return 1.0 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)
