import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def softmax(logits):
    return np.exp(logits) / np.sum(np.exp(logits))


def kl(p, q):
    return np.sum(p * np.log(p / q))


rld = jax.jit(losses.rld, static_argnames="standardize")
rld_and_gradient = jax.jit(jax.value_and_grad(losses.rld))
STUDENT = np.array([0.5, 2.0, -1.0, 0.0])
TEACHER = np.array([3.0, 1.0, 0.5, -2.0])


@pytest.mark.parametrize("label", [0, 1, 2, 3])
def test_by_hand(label):
    q, p = softmax(STUDENT / 1.5), softmax(TEACHER / 1.5)
    confidence = kl(np.array([p[0], 1 - p[0]]), np.array([q[label], 1 - q[label]]))
    below = slice(label + 1, None)  # the teacher's logits fall
    masked = 0.0
    if label < 3:
        masked = kl(softmax(TEACHER[below] / 3.0), softmax(STUDENT[below] / 3.0))
    value = rld(
        jnp.asarray(STUDENT),
        jnp.asarray(TEACHER),
        jnp.array(label),
        alpha=0.5,
        beta=2.0,
        alpha_temperature=1.5,
        temperature=3.0,
    )
    expected = 0.5 * 1.5**2 * confidence + 2.0 * 3.0**2 * masked
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_classes_the_teacher_prefers_to_the_label_are_left_alone():
    """Only through their share of the rest of the binary term, which alpha 0 removes."""
    student, teacher, label = jnp.asarray(STUDENT), jnp.asarray(TEACHER), jnp.array(1)
    _, gradient = rld_and_gradient(student, teacher, label, alpha=0.0)
    np.testing.assert_array_equal(gradient[:2], 0)
    assert np.all(np.abs(gradient[2:]) > 1e-3)


def test_equal_logits_of_the_teacher_count_as_preferred():
    student, teacher = jnp.asarray(STUDENT), jnp.array([1.0, 1.0, 0.0, 0.0])
    value = rld(student, teacher, jnp.array(0), alpha=0.0, beta=1.0, temperature=2.0)
    np.testing.assert_allclose(
        value, losses.kd(student[2:], teacher[2:], temperature=2.0), rtol=1e-5
    )


def test_no_class_below_the_label_is_no_loss():
    student, teacher = jnp.asarray(STUDENT), jnp.asarray(TEACHER)
    value, gradient = rld_and_gradient(student, teacher, jnp.array(3), alpha=0.0)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_zero_at_equality_where_the_teacher_is_right():
    logits = jnp.asarray(TEACHER)
    value, gradient = rld_and_gradient(logits, logits, jnp.array(0), alpha=1.0)
    # The rounding error, times `beta temperature**2` of 128.
    np.testing.assert_allclose(value, 0, atol=1e-4)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    assert rld(logits, logits, jnp.array(1)) > 0.1


def test_standardize():
    student, teacher = jnp.asarray(STUDENT), jnp.asarray(TEACHER)
    value = rld(student, teacher, jnp.array(1), standardize=True)
    expected = rld(
        losses.standardize_logits(student), losses.standardize_logits(teacher), jnp.array(1)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    shifted = rld(5 * student - 3, 2 * teacher + 1, jnp.array(1), standardize=True)
    np.testing.assert_allclose(shifted, expected, rtol=1e-4)


def test_impossible_temperatures_are_named():
    with pytest.raises(ValueError, match="alpha_temperature must be positive and finite, got 0"):
        losses.rld(STUDENT, TEACHER, 0, alpha_temperature=0.0)
    with pytest.raises(ValueError, match="temperature must be positive and finite, got -1"):
        losses.rld(STUDENT, TEACHER, 0, temperature=-1.0)
    with pytest.raises(ValueError, match="alpha_temperature must be a scalar"):
        losses.rld(STUDENT, TEACHER, 0, alpha_temperature=jnp.ones(2))
