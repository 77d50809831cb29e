"""Distillation of values with their uncertainty."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import shared_with_labels
from jaxkd.recipes._recipe import Recipe


def gaussian_kd(
    *,
    alpha: float | Schedule = 0.5,
    mean: str = "mean",
    log_variance: str = "log_variance",
) -> Objective:
    """Distills normal distributions of values: `alpha KL(teacher‖student) + (1 - alpha) NLL`.

    Both networks predict a mean and the logarithm of a variance, two outputs of one shape; the
    student learns what the teacher predicts, and how sure it is. NLL is the negative log-likelihood
    of the labels under the student's distribution.

    Args:
      alpha: weight of the teacher, from 0 (labels alone) to 1 (the teacher alone: no labels are
        needed); a number or an optax schedule.
      mean: name of the output with the means, of both networks.
      log_variance: name of the output with the natural logarithms of the variances.

    Returns:
      An objective with the terms `label` and `gaussian_kd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1].

    Example:
      >>> gaussian_kd().terms["label"]
      Term(gaussian_nll, weight=0.5, student=('mean', 'log_variance'))

    Reference:
      Kendall and Gal, What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?,
      NeurIPS 2017 (the likelihood).
    """
    outputs = mean, log_variance
    distil = Term(losses.gaussian_kl, alpha, student=outputs, teacher=outputs)
    return shared_with_labels(alpha, losses.gaussian_nll, outputs, gaussian_kd=distil)


GAUSSIAN_KD = Recipe(
    "gaussian_kd",
    gaussian_kd,
    "Kendall and Gal, What Uncertainties Do We Need in Bayesian Deep Learning for Computer "
    "Vision?, NeurIPS 2017 (the likelihood).",
    task="values",
)
