"""The bias of a student for classes that were missing when it learned."""

from collections.abc import Sequence

import numpy as np

from jaxkd.metrics._validation import check_logits


def correct_class_bias(
    logits: np.ndarray, classes: int | Sequence[int], share: float
) -> np.ndarray:
    """Adds one number to the logits of a class, or of several, to correct their bias.

    A student that was distilled without any example of a class knows it from the small
    probabilities that the teacher gave it on others, but predicts it too seldom. The number is
    chosen on the given examples, without any label.

    Args:
      logits: `[examples, num_classes]`.
      classes: a class, or several that get the same number.
      share: share of the examples whose prediction shall be the class, or one of the classes: the
        prior, such as `1 / num_classes`.

    Returns:
      The corrected logits. The number is negative where the classes were predicted too often.

    Raises:
      ValueError: the share is outside [0, 1], a class does not exist, there is no class or these
        are all of them, or the logits have nan or +inf, or a row of −inf alone.

    Example:
      >>> logits = np.array([[2.0, 0.0], [2.0, 1.0], [2.0, 1.5], [2.0, 1.6]])
      >>> correct_class_bias(logits, 1, share=0.5).argmax(-1).tolist()
      [0, 0, 1, 1]

    Reference:
      Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    check_logits("logits", logits)
    chosen = np.atleast_1d(classes)
    if not chosen.size:
        raise ValueError("classes is empty: name at least one class, such as classes=0")
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], not {share}")
    if len(outside := chosen[(chosen < 0) | (chosen >= logits.shape[-1])]):
        raise ValueError(f"classes {outside.tolist()} are not among the {logits.shape[-1]}")
    others = np.delete(logits, chosen, axis=-1)
    if not others.shape[-1]:
        raise ValueError(f"{chosen.tolist()} are all classes: leave at least one out")
    corrected = logits.copy()
    corrected[:, chosen] += np.quantile(others.max(-1) - logits[:, chosen].max(-1), share)
    return corrected
