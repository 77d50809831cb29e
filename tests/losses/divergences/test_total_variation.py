import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def softmax(logits):
    exp = np.exp(np.asarray(logits, np.float64))
    return exp / exp.sum(-1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 12, 4)).astype(np.float32)


def test_total_variation(logits):
    q, p = softmax(logits[0]), softmax(logits[1])
    value = losses.total_variation(*logits)
    np.testing.assert_allclose(value, np.abs(p - q).sum(-1) / 2, rtol=1e-5)
    far = losses.total_variation(jnp.array([300.0, 0.0]), jnp.array([0.0, 300.0]))
    np.testing.assert_allclose(far, 1.0, rtol=1e-6)
