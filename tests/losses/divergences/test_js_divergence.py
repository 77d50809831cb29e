import jax
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


@pytest.mark.parametrize("beta", [0.2, 0.5, 0.9])
def test_js_mixes_beta_of_the_teacher(logits, beta):
    q, p = softmax(logits[0]), softmax(logits[1])
    m = beta * p + (1 - beta) * q
    expected = beta * kl(p, m) + (1 - beta) * kl(q, m)
    np.testing.assert_allclose(losses.js_divergence(*logits, beta=beta), expected, rtol=1e-4)
    traced = jax.jit(lambda b: losses.js_divergence(*logits, beta=b))(beta)
    np.testing.assert_allclose(traced, expected, rtol=1e-4)


def test_js_tends_to_the_plain_divergences(logits):
    with jax.enable_x64(True):
        student, teacher = logits.astype(np.float64)
        np.testing.assert_allclose(
            losses.js_divergence(student, teacher, beta=1e-6) / 1e-6,
            losses.kl_divergence(student, teacher),
            rtol=1e-4,
        )
        np.testing.assert_allclose(
            losses.js_divergence(student, teacher, beta=1 - 1e-6) / 1e-6,
            losses.reverse_kl_divergence(student, teacher),
            rtol=1e-4,
        )
