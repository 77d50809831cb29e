"""Means with log-variances: likelihood of labels, and divergence from a teacher's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

NUMBERS = np.random.default_rng(0).normal(size=(5, 6, 2)).astype(np.float32)
MEAN, LOG_VARIANCE, OTHER_MEAN, OTHER_LOG_VARIANCE, LABELS = NUMBERS
STUDENT, TEACHER = (MEAN, LOG_VARIANCE), (OTHER_MEAN, OTHER_LOG_VARIANCE)

# Compiled: one program costs less than its operations one by one.
gaussian_nll, gaussian_kl = jax.jit(losses.gaussian_nll), jax.jit(losses.gaussian_kl)


def test_the_likelihood_is_that_of_the_normal_distribution():
    deviation = np.exp(LOG_VARIANCE / 2)
    expected = 0.5 * ((LABELS - MEAN) / deviation) ** 2 + np.log(deviation * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(gaussian_nll(STUDENT, LABELS), expected, rtol=1e-5, atol=1e-6)


def test_the_divergence_is_the_mean_difference_of_likelihoods():
    """Integrated by Gauss and Hermite, which is exact for a quadratic function."""
    points, weights = np.polynomial.hermite_e.hermegauss(8)
    labels = OTHER_MEAN[..., None] + np.exp(OTHER_LOG_VARIANCE / 2)[..., None] * points
    parts = [x[..., None] for x in (*STUDENT, *TEACHER)]

    def nll(mean, log_variance):
        return 0.5 * (log_variance + (mean - labels) ** 2 / np.exp(log_variance))

    excess = nll(*parts[:2]) - nll(*parts[2:])
    expected = np.sum(weights * excess, axis=-1) / np.sum(weights)
    np.testing.assert_allclose(gaussian_kl(STUDENT, TEACHER), expected, rtol=1e-4, atol=1e-5)


def test_nearly_equal_distributions_keep_their_digits():
    zeros = np.zeros_like(MEAN)
    value = gaussian_kl((zeros, zeros + np.float32(1e-3)), (zeros, zeros))
    np.testing.assert_allclose(value, np.full_like(zeros, 0.25e-6), rtol=1e-3)


def test_log_variances_out_of_range_come_back():
    """Values stay finite, and the gradient leads back to where the error is."""

    log_variances = jnp.array([-1e30, -31.0, 31.0, 1e30])
    one, nothing = jnp.float32(1.0), jnp.float32(0.0)
    for loss, target in (
        (losses.gaussian_nll, nothing),
        (losses.gaussian_kl, (nothing, nothing)),
    ):
        slopes = jax.value_and_grad(lambda v, loss=loss, target=target: loss((one, v), target))
        value, slope = jax.jit(jax.vmap(slopes))(log_variances)
        assert np.isfinite(value).all() and np.isfinite(slope).all()
        assert (slope * log_variances > 0).all()


def test_large_errors_are_finite_where_the_value_is_a_float32():
    """At log-variances of 30 the squares are divided by 1e13, at -30 the halves come first."""
    errors = np.array([1e20, 7e12], np.float32)
    log_variance, zeros = np.array([30, -30], np.float32), np.zeros(2, np.float32)
    expected = 0.5 * errors.astype(float) ** 2 * np.exp(-log_variance.astype(float))
    teacher = (zeros, log_variance)
    np.testing.assert_allclose(gaussian_nll((errors, log_variance), zeros), expected, rtol=1e-5)
    np.testing.assert_allclose(gaussian_kl((errors, log_variance), teacher), expected, rtol=1e-5)


def test_what_is_no_pair_is_refused():
    with pytest.raises(TypeError, match=r'student must be a tuple.*student=\("mean", "log_var'):
        losses.gaussian_nll(MEAN, LABELS)
    with pytest.raises(TypeError, match="teacher must be a tuple"):
        losses.gaussian_kl(STUDENT, OTHER_MEAN)
    with pytest.raises(ValueError, match=r"\(6, 2\) and log-variance of shape \(2,\) of student"):
        losses.gaussian_nll((MEAN, LOG_VARIANCE[0]), LABELS)
    with pytest.raises(ValueError, match=r"student values of shape \(6, 2\) and teacher values of"):
        losses.gaussian_kl(STUDENT, (OTHER_MEAN[:, 0], OTHER_LOG_VARIANCE[:, 0]))
    with pytest.raises(ValueError, match="int32 .* are classes"):
        losses.gaussian_nll(STUDENT, LABELS.astype(np.int32))
