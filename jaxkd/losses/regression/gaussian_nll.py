"""Likelihood of labels under a mean and a variance that the network predicts."""

from __future__ import annotations

import math

import jax
from jax.typing import ArrayLike

from jaxkd.losses.regression._values import as_gaussian, half_squared_scores, labeled_values


def gaussian_nll(
    student: tuple[ArrayLike, ArrayLike],
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the negative log-likelihood of labels under normal distributions (heteroscedastic).

    It is `(log_variance + (mean - label)**2 / variance + log 2π) / 2` in nats. The network learns
    how sure it can be of each example: a large variance makes an error cost less and has a cost of
    its own. Labels are constants: no gradient flows to them.

    Args:
      student: mean and natural logarithm of the variance, two arrays of one shape, `[batch]`,
        `[batch, values]` or any other. Log-variances are clipped to [-30, 30]; beyond, the gradient
        is that at the bound.
      labels: floats of that shape, or `[...]` for values `[..., 1]`.
      where: boolean, of the shape of the values or of their first axes; the loss is 0 where it is
        False.

    Returns:
      One loss for each value, of the shape of the mean, float32 at least.

    Raises:
      ValueError: arrays of two shapes, labels of another shape, or integers, which are classes; a
        mask that does not fit.
      TypeError: a student that is no pair.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([0.0, 0.0]), jnp.log(jnp.array([1.0, 9.0]))
      >>> [f"{loss:.3f}" for loss in losses.gaussian_nll(student, jnp.array([3.0, 3.0]))]
      ['5.419', '2.518']

    References:
      Nix and Weigend, Estimating the Mean and Variance of the Target Probability Distribution,
      1994; Kendall and Gal, What Uncertainties Do We Need in Bayesian Deep Learning for Computer
      Vision?, 2017, who predict the logarithm and leave out the constant.
    """
    predicted, _ = as_gaussian("student", student, where)
    pair = labeled_values(predicted.mean, labels, where)
    squares = half_squared_scores(pair.student - pair.teacher, predicted.log_variance)
    return pair.finish(0.5 * (predicted.log_variance + math.log(2 * math.pi)) + squares)
