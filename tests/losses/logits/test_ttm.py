import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_ttm_and_wttm_by_hand(logits, gamma):
    q, p = (np.asarray(jax.nn.softmax(x), np.float64) for x in logits)
    power = p**gamma
    weight = power.sum(-1, keepdims=True)
    expected = np.sum(power / weight * np.log(power / weight / q), axis=-1)
    np.testing.assert_allclose(losses.ttm(*logits, gamma=gamma), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        losses.wttm(*logits, gamma=gamma), weight[:, 0] * expected, rtol=1e-4, atol=1e-6
    )


def test_ttm_tempers_the_teacher_alone(logits):
    student, teacher = logits
    expected = losses.kl_divergence(student, teacher / 4.0)
    np.testing.assert_allclose(losses.ttm(student, teacher, gamma=0.25), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.ttm, losses.wttm])
def test_powers_of_probabilities_below_the_smallest_float(loss):
    """exp(-200) is 0 in float32; its tenth part in logarithms, exp(-20), is not."""
    student, teacher = jnp.array([0.0, 0.0]), jnp.array([200.0, 0.0])
    powers = np.exp([0.0, -20.0])
    r = powers / powers.sum()
    expected = np.sum(r * np.log(2 * r))
    gradient_to_student = jax.jit(jax.grad(loss))
    gradient = gradient_to_student(student, teacher)
    np.testing.assert_allclose(loss(student, teacher), expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0.5 - r[0], 0.5 - r[1]], rtol=1e-6)
    far = jnp.array([20.0, 0.0])
    # At the student's optimum, which is logits of 20 and 0, the gradient is 0 and not exp(-20).
    np.testing.assert_allclose(gradient_to_student(far, teacher)[1], 0, atol=1e-15)


@pytest.mark.parametrize("loss", [losses.ttm, losses.wttm])
def test_hard_logits(loss):
    student = jnp.array([[500.0, 0, 0], [1, 1, 1], [0, 300, 1], [2, 0, 1]])
    infinity = jnp.inf
    teacher = jnp.array([[0.0, 0, 500], [2, 2, 2], [0, -infinity, 3], [0, -infinity, -infinity]])

    def total(student, gamma):
        values = loss(student, teacher, gamma=gamma)
        return jnp.sum(values), values

    gradients, values = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(student, 0.3)
    chex.assert_tree_all_finite((gradients, values))


@pytest.mark.parametrize("loss", [losses.ttm, losses.wttm])
def test_powers_that_are_refused(logits, loss):
    for gamma in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="gamma must be positive and finite"):
            loss(*logits, gamma=gamma)
    with pytest.raises(ValueError, match="gamma must be a scalar"):
        loss(*logits, gamma=jnp.ones(3))
    sparse = losses.SparseLogits(
        indices=jnp.zeros((3, 1), jnp.int32),
        logits=jnp.zeros((3, 1)),
        tail=jnp.zeros((3, 1)),
        temperatures=(1.0,),
        num_classes=5,
    )
    with pytest.raises(TypeError, match="array.*powers of all probabilities.*store dense"):
        loss(logits[0], sparse)
