import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

LABELS = np.array([0, 4, 2, 1])


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 4, 5)), jnp.float32)


nkd = jax.jit(losses.nkd)


def softmax(logits):
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_nkd_by_hand(logits):
    expected = []
    for student, teacher, label in zip(*np.asarray(logits, np.float64), LABELS, strict=True):
        target = -softmax(teacher)[label] * np.log(softmax(student)[label])
        p, q = (softmax(np.delete(x, label) / 2.0) for x in (teacher, student))
        expected.append(target - 0.5 * 4.0 * np.sum(p * np.log(q)))
    value = nkd(*logits, LABELS, gamma=0.5, temperature=2.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_nkd_temperature_does_not_enter_the_target(logits):
    cold, warm = (nkd(*logits, LABELS, gamma=0.0, temperature=t) for t in (1.0, 5.0))
    chex.assert_trees_all_equal(cold, warm)
