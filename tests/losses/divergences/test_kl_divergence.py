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


def test_directions(logits):
    student, teacher = logits
    q, p = softmax(student), softmax(teacher)
    np.testing.assert_allclose(losses.kl_divergence(student, teacher), kl(p, q), rtol=1e-5)
    np.testing.assert_allclose(losses.reverse_kl_divergence(student, teacher), kl(q, p), rtol=1e-5)
    np.testing.assert_allclose(
        losses.symmetric_kl_divergence(student, teacher), (kl(p, q) + kl(q, p)) / 2, rtol=1e-5
    )


@pytest.mark.parametrize(
    "divergence",
    [losses.kl_divergence, losses.reverse_kl_divergence, losses.symmetric_kl_divergence],
)
def test_temperature_divides_both_and_multiplies_nothing(logits, divergence):
    np.testing.assert_allclose(
        divergence(*logits, temperature=3.0), divergence(*(logits / 3)), rtol=1e-5
    )


def test_a_class_masked_in_the_teacher_costs_forward_and_not_reverse():
    student = jnp.array([1.0, 0.0, 2.0])
    teacher = jnp.array([0.0, 1.0, -jnp.inf])
    q = softmax(student)
    p = softmax(teacher[:2])
    np.testing.assert_allclose(
        losses.kl_divergence(student, teacher), np.sum(p * np.log(p / q[:2])), rtol=1e-5
    )
    # The gradient pushes mass out of the class.
    np.testing.assert_allclose(
        jax.grad(losses.kl_divergence)(student, teacher), q - np.append(p, 0), rtol=1e-5
    )
    reverse = jax.value_and_grad(losses.reverse_kl_divergence)
    value, gradient = reverse(student, teacher)
    expected, expected_gradient = reverse(student[:2], teacher[:2])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, np.append(expected_gradient, 0), atol=1e-7)


def test_a_class_masked_in_the_student_alone_is_infinitely_far():
    student, teacher = jnp.array([1.0, -jnp.inf]), jnp.array([0.0, 1.0])
    assert losses.kl_divergence(student, teacher) == jnp.inf
    chex.assert_tree_all_finite(losses.reverse_kl_divergence(student, teacher))
    chex.assert_tree_all_finite(losses.js_divergence(student, teacher))


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_nan_is_not_hidden(side):
    pair = {"student": jnp.zeros(3), "teacher": jnp.zeros(3)}
    pair[side] = pair[side].at[0].set(jnp.nan)
    for divergence in (losses.kl_divergence, losses.reverse_kl_divergence, losses.js_divergence):
        assert jnp.isnan(divergence(**pair))


def test_gradient_of_a_learned_temperature(logits):
    student, teacher = logits

    def loss(temperature):
        return jnp.sum(losses.kl_divergence(student, teacher, temperature=temperature))

    step = 1e-2
    slope = (loss(2 + step) - loss(2 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(loss)(2.0), slope, rtol=1e-3)


def test_gradient_of_a_learned_temperature_passes_masks():
    student, teacher = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array([0.0, -jnp.inf, 2.0])
    for divergence in (losses.kl_divergence, losses.reverse_kl_divergence, losses.js_divergence):
        gradient = jax.grad(lambda t, d=divergence: d(student, teacher, temperature=t))(2.0)
        smaller = jax.grad(lambda t, d=divergence: d(student[::2], teacher[::2], temperature=t))(
            2.0
        )
        np.testing.assert_allclose(gradient, smaller, rtol=1e-5)
