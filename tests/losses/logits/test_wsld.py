import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxkd import losses

wsld = jax.jit(losses.wsld)

LABELS = jnp.array([0, 4, 2])


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)


def wsld_weight(student, teacher):
    ratio = losses.cross_entropy(student, LABELS) / losses.cross_entropy(teacher, LABELS)
    return 1 - jnp.exp(-ratio)


def test_wsld_by_hand(logits):
    student, teacher = logits
    soft = optax.softmax_cross_entropy(student / 3.0, jax.nn.softmax(teacher / 3.0))
    expected = 9.0 * wsld_weight(student, teacher) * soft
    value = wsld(*logits, LABELS, temperature=3.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_wsld_has_no_gradient_through_its_weight(logits):
    student, teacher = logits

    def with_constant_weight(student):
        soft = optax.softmax_cross_entropy(student / 4.0, jax.nn.softmax(teacher / 4.0))
        return jnp.sum(16.0 * wsld_weight(*logits) * soft)

    def loss(student):
        return jnp.sum(losses.wsld(student, teacher, LABELS))

    gradient, expected = (jax.grad(f)(student) for f in (loss, with_constant_weight))
    chex.assert_trees_all_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_wsld_a_student_past_its_teacher_counts_little():
    teacher, labels = jnp.array([[2.0, 0.0, 0.0]] * 2), jnp.zeros(2, jnp.int32)
    behind, past = wsld(jnp.array([[0.0, 2.0, 0.0], [20.0, 0.0, 0.0]]), teacher, labels)
    assert behind > 10
    assert 0 <= past < 1e-4


def test_wsld_label_that_both_rule_out_weighs_nothing():
    logits = jnp.array([-jnp.inf, 1.0, 0.0])
    value, gradient = jax.jit(jax.value_and_grad(losses.wsld))(logits, logits, jnp.array(0))
    assert value == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros(3))
