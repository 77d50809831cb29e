"""How closely a student reproduces the predictions of its teacher."""

import numpy as np
from numpy.typing import ArrayLike

from jaxkd.metrics._validation import check_pair, log_softmax


def agreement(student: ArrayLike, teacher: ArrayLike) -> float:
    """Computes the fraction of examples for which two networks predict the same class.

    Args:
      student: logits of the student, `[n, num_classes]`.
      teacher: logits of the teacher, `[n, num_classes]`.

    Returns:
      A fraction, 0 to 1.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> agreement([[2.0, 1.0], [0.0, 3.0]], [[5.0, 0.0], [1.0, 0.0]])
      0.5
    """
    student, teacher = check_pair(student, teacher)
    return float(np.mean(student.argmax(-1) == teacher.argmax(-1)))


def mean_kl_divergence(
    student: ArrayLike, teacher: ArrayLike, *, temperature: float = 1.0
) -> float:
    """Computes the mean of KL(teacher ‖ student) over the examples, in nats.

    Args:
      student: logits of the student, `[n, num_classes]`.
      teacher: logits of the teacher, `[n, num_classes]`.
      temperature: divisor of both logits.

    Returns:
      The mean, not multiplied by the squared temperature; infinite if the student gives probability
      zero to a class to which the teacher does not.

    Raises:
      ValueError: the shapes differ, or the temperature is not positive.

    Example:
      >>> mean_kl_divergence([[0.0, 0.0]], [[100.0, 0.0]])
      0.6931471805599453
    """
    student, teacher = check_pair(student, teacher)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    log_q, log_p = log_softmax(student / temperature), log_softmax(teacher / temperature)
    # Where the teacher gives no probability the limit of p log p is 0, not 0 * inf.
    gap = np.subtract(log_p, log_q, out=np.zeros_like(log_p), where=log_p > -np.inf)
    return float(np.mean(np.sum(np.exp(log_p) * gap, axis=-1)))
