import jax
import jax.numpy as jnp
import jax.test_util
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


def test_logit_mse(logits):
    student, teacher = logits
    np.testing.assert_allclose(
        losses.logit_mse(student, teacher), np.mean((student - teacher) ** 2, axis=-1), rtol=1e-5
    )
    jax.test_util.check_grads(
        lambda x: losses.logit_mse(x, teacher), (student,), order=1, modes=("rev",), rtol=1e-2
    )


def test_logit_mse_averages_over_the_classes_that_take_part():
    student, teacher = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, 0.0, 0.0])
    where = jnp.array([True, False, True])
    np.testing.assert_allclose(losses.logit_mse(student, teacher, where=where), 5.0)
    masked = teacher.at[0].set(-jnp.inf)
    np.testing.assert_allclose(losses.logit_mse(student, masked), 6.5)


def test_logit_mse_of_sparse_logits_is_refused():
    sparse = losses.SparseLogits(
        indices=jnp.zeros((2, 1), jnp.int32),
        logits=jnp.zeros((2, 1)),
        tail=jnp.zeros((2, 1)),
        temperatures=(1.0,),
        num_classes=3,
    )
    with pytest.raises(TypeError, match="teacher must be an array, got SparseLogits.*regress"):
        losses.logit_mse(jnp.zeros((2, 3)), sparse)
