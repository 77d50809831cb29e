import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize("scale", [-1.0, -0.25, 0.0, 2.0])
def test_the_gradient_is_scaled_and_the_value_is_not(scale):
    x = jnp.array([1.5, -2.0, 1e30])
    np.testing.assert_array_equal(losses.reverse_gradient(x, scale), x)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(losses.reverse_gradient(x, scale))))(x)
    np.testing.assert_allclose(gradient, scale * jnp.cos(x), rtol=1e-6)


def test_the_scale_may_be_traced_and_gets_no_gradient():
    def loss(x, scale):
        return losses.reverse_gradient(x, scale) ** 2

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(3.0, -0.5)
    assert [float(gradient) for gradient in gradients] == [-3.0, 0.0]
    x = jnp.asarray(3.0, jnp.bfloat16)
    assert jax.grad(loss)(x, jnp.float32(-1)).dtype == jnp.bfloat16


def test_a_learned_temperature_works_against_the_student():
    student, teacher = jnp.array([1.0, 0.0, 3.0]), jnp.array([4.0, 0.0, 1.0])

    def loss(theta, scale=-1.0):
        theta = losses.reverse_gradient(theta, scale)
        return losses.kd(student, teacher, temperature=1 + 20 * jax.nn.sigmoid(theta))

    theta = 1.0
    downhill = theta - 0.1 * jax.grad(loss)(theta)
    assert loss(downhill) > loss(theta)


def test_the_schedule_is_a_cosine_that_stays_at_its_end():
    schedule = losses.curriculum_schedule(8, start=0.5, end=-1.5)
    steps = jnp.array([0, 2, 4, 8, 100])
    turn = np.cos(np.pi / 4)
    np.testing.assert_allclose(schedule(steps), [0.5, -0.5 + turn, -0.5, -1.5, -1.5], atol=1e-6)
    np.testing.assert_allclose(jax.jit(schedule)(2), -0.5 + turn, atol=1e-6)


@pytest.mark.parametrize("steps", [0, -3, float("inf")])
def test_a_schedule_needs_steps(steps):
    with pytest.raises(ValueError, match="steps must be positive"):
        losses.curriculum_schedule(steps)
