import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def softmax(logits):
    exp = np.exp(np.asarray(logits, np.float64))
    return exp / exp.sum(-1, keepdims=True)


def kl(a, b):
    return np.sum(a * np.log(a / b), axis=-1)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 12, 4)).astype(np.float32)


@pytest.mark.parametrize("skew", [0.1, 0.7])
def test_skew_is_the_share_of_the_first_argument_of_kl(logits, skew):
    q, p = softmax(logits[0]), softmax(logits[1])
    np.testing.assert_allclose(
        losses.skew_kl_divergence(*logits, skew=skew), kl(p, skew * p + (1 - skew) * q), rtol=1e-4
    )
    np.testing.assert_allclose(
        losses.skew_reverse_kl_divergence(*logits, skew=skew),
        kl(q, (1 - skew) * p + skew * q),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("mixture", "keywords", "plain"),
    [
        (losses.js_divergence, {"beta": 0}, losses.kl_divergence),
        (losses.js_divergence, {"beta": 1.0}, losses.reverse_kl_divergence),
        (losses.skew_kl_divergence, {"skew": 0.0}, losses.kl_divergence),
        (losses.skew_reverse_kl_divergence, {"skew": 0.0}, losses.reverse_kl_divergence),
    ],
)
def test_ends_are_the_plain_divergences(logits, mixture, keywords, plain):
    student, teacher = logits
    teacher[0, 1] = -np.inf
    arguments = {
        "temperature": 2.0,
        "axis": 0,
        "where": np.arange(12) != 2,
    }
    chex.assert_trees_all_equal(
        mixture(student.T, teacher.T, **arguments, **keywords),
        plain(student.T, teacher.T, **arguments),
    )
    gradient = jax.grad(lambda s: jnp.sum(mixture(s, teacher, **keywords)))(student)
    expected = jax.grad(lambda s: jnp.sum(plain(s, teacher)))(student)
    chex.assert_trees_all_equal(gradient, expected)


def test_bounds():
    student, teacher = jnp.array([400.0, 0.0]), jnp.array([0.0, 400.0])
    np.testing.assert_allclose(losses.js_divergence(student, teacher), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(
        losses.skew_kl_divergence(student, teacher, skew=0.1), -np.log(0.1), rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.skew_reverse_kl_divergence(student, teacher, skew=0.1), -np.log(0.1), rtol=1e-6
    )


def test_weights_outside_their_range_are_refused(logits):
    for beta in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\], got"):
            losses.js_divergence(*logits, beta=beta)
    for divergence in (losses.skew_kl_divergence, losses.skew_reverse_kl_divergence):
        with pytest.raises(ValueError, match=r"skew must lie in \[0, 1\), got 1.0"):
            divergence(*logits, skew=1)
