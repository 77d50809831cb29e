import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 12, 4)).astype(np.float32)


def test_kd_is_t_squared_kl_at_temperature_4_by_default(logits):
    expected = 16 * losses.kl_divergence(*logits, temperature=4.0)
    np.testing.assert_allclose(losses.kd(*logits), expected, rtol=1e-6)
    halved = losses.kd(*logits, temperature=2.0)
    np.testing.assert_allclose(
        halved, 4 * losses.kl_divergence(*logits, temperature=2.0), rtol=1e-6
    )


def test_kd_gradient_keeps_its_size_as_the_temperature_grows(logits):
    """At high temperatures it tends to the regression of centered logits over their number."""
    student, teacher = logits
    gradient = jax.grad(lambda x: jnp.sum(losses.kd(x, teacher, temperature=1e3)))(student)
    difference = student - teacher
    centered = difference - difference.mean(-1, keepdims=True)
    np.testing.assert_allclose(gradient, centered / 4, atol=2e-3)


def test_kd_temperature_in_low_precision_is_squared_in_float32(logits):
    temperature = jnp.asarray(2.7, jnp.bfloat16)
    exact = losses.kd(*logits, temperature=float(temperature))
    np.testing.assert_allclose(losses.kd(*logits, temperature=temperature), exact, rtol=1e-6)
