"""Losses of values: of labels, of a teacher's values, and of Gaussian distributions of them.

They return one number for each value, of the shape `[batch]` or `[batch, values]` that the network
has. A network that says how sure it is has two outputs of that shape, mean and logarithm of the
variance, which are given together: `Term(losses.gaussian_nll, student=("mean", "log_variance"))`.

- `squared_error`, `huber_loss`, `gaussian_nll`, with labels.
- `regression_kd`, with a teacher's values; `bounded_regression`, with labels as well.
- `gaussian_kl`, with a teacher's distributions.
"""

from jaxkd.losses.regression.bounded_regression import bounded_regression as bounded_regression
from jaxkd.losses.regression.gaussian_kl import gaussian_kl as gaussian_kl
from jaxkd.losses.regression.gaussian_nll import gaussian_nll as gaussian_nll
from jaxkd.losses.regression.huber_loss import huber_loss as huber_loss
from jaxkd.losses.regression.regression_kd import regression_kd as regression_kd
from jaxkd.losses.regression.squared_error import squared_error as squared_error

__all__ = [
    "bounded_regression",
    "gaussian_kl",
    "gaussian_nll",
    "huber_loss",
    "regression_kd",
    "squared_error",
]
