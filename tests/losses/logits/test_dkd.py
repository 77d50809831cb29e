import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 6, 5)), jnp.float32)


dkd = jax.jit(losses.dkd)


@jax.jit
def dkd_and_gradient(student, teacher, labels, alpha, temperature):
    def total(x):
        values = losses.dkd(x, teacher, labels, alpha=alpha, temperature=temperature)
        return jnp.sum(values), values

    gradient, values = jax.grad(total, has_aux=True)(student)
    return values, gradient


LABELS = jnp.array([0, 4, 2, 2, 1, 3])


def softmax(logits):
    return np.exp(logits) / np.sum(np.exp(logits))


def kl(p, q):
    return np.sum(p * np.log(p / q))


def test_by_hand(logits):
    temperature, expected = 3.0, []
    for student, teacher, label in zip(*np.asarray(logits, np.float64), LABELS, strict=True):
        q, p = softmax(student / temperature), softmax(teacher / temperature)
        target = kl(*(np.array([x[label], 1 - x[label]]) for x in (p, q)))
        rest = kl(*(np.delete(x, label) / (1 - x[label]) for x in (p, q)))
        expected.append(temperature**2 * (0.5 * target + 2.0 * rest))
    value = dkd(*logits, LABELS, alpha=0.5, beta=2.0, temperature=temperature)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_is_hintons_loss_with_the_teachers_own_weight(logits):
    """KL = TCKD + (1 - p_y) NCKD."""
    student, teacher = logits
    p = jnp.take_along_axis(jax.nn.softmax(teacher / 4.0), LABELS[:, None], axis=-1)[:, 0]
    target = dkd(student, teacher, LABELS, beta=0.0)
    rest = dkd(student, teacher, LABELS, alpha=0.0, beta=1.0)
    expected = losses.kd(student, teacher, temperature=4.0)
    np.testing.assert_allclose(target + (1 - p) * rest, expected, rtol=1e-5, atol=1e-6)


def test_the_label_does_not_enter_the_other_classes_however_large(logits):
    """Subtracting 1000 from it would not be enough."""
    expected, _ = dkd_and_gradient(*logits, LABELS, 0.0, 1.0)
    rows = jnp.arange(6)
    for logit in (-3e4, 0.0, 3e4):
        student = logits[0].at[rows, LABELS].set(logit)
        value, gradient = dkd_and_gradient(student, logits[1], LABELS, 0.0, 1.0)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        chex.assert_trees_all_equal(gradient[rows, LABELS], jnp.zeros(6))


def test_zero_at_equality(logits):
    student = logits[0]
    value, gradient = dkd_and_gradient(student, student, LABELS, 1.0, 4.0)
    # The rounding error, times `beta temperature**2` of 128.
    np.testing.assert_allclose(value, 0, atol=1e-4)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_label_on_a_masked_class_leaves_the_other_classes(logits):
    """Masked on both sides: without a probability of the label, only the other classes remain."""
    where = jnp.ones((6, 5), bool).at[jnp.arange(6), LABELS].set(False)
    value = dkd(*logits, LABELS, where=where)
    np.testing.assert_allclose(value, 8 * losses.kd(*logits, where=where), rtol=1e-5)


def test_traced_weights(logits):
    quarter = dkd(*logits, LABELS, alpha=0.25, beta=2.0)
    np.testing.assert_allclose(quarter, losses.dkd(*logits, LABELS) / 4, rtol=1e-5)
