import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxkd import losses

ofa = jax.jit(losses.ofa)
LABELS = jnp.array([0, 4, 2])


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)


@pytest.mark.parametrize(("epsilon", "temperature"), [(1.5, 1.0), (0.5, 2.0)])
def test_by_hand(logits, epsilon, temperature):
    student, teacher = logits / temperature
    one_hot = jax.nn.one_hot(LABELS, 5)
    target = (jax.nn.softmax(teacher) + one_hot) ** epsilon - one_hot
    expected = -jnp.sum(target * jax.nn.log_softmax(student), axis=-1)
    value = ofa(*logits, LABELS, epsilon=epsilon, temperature=temperature)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_epsilon_1_is_the_cross_entropy_whatever_the_label(logits):
    student, teacher = logits
    expected = optax.softmax_cross_entropy(student, jax.nn.softmax(teacher))
    for labels in (LABELS, jnp.array([3, -1, -1])):
        np.testing.assert_allclose(ofa(*logits, labels), expected, rtol=1e-5)


def test_without_a_label_no_class_is_enhanced(logits):
    student, teacher = logits
    expected = -jnp.sum(jax.nn.softmax(teacher) ** 1.5 * jax.nn.log_softmax(student), axis=-1)
    value = ofa(*logits, jnp.full(3, -1), epsilon=1.5)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_a_target_probability_too_small_to_add_to_one_is_kept():
    """`(1 + p)**epsilon - 1` is `epsilon p`, also where 1 + p is 1 in float32."""
    student, teacher = jnp.array([-30.0, 0.0]), jnp.array([-20.0, 0.0])
    label, other = (ofa(student, teacher, jnp.array(0), epsilon=epsilon) for epsilon in (2.0, 1.0))
    np.testing.assert_allclose(label, 2 * other, rtol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_impossible_epsilon_is_refused(logits, epsilon):
    with pytest.raises(ValueError, match="epsilon must be positive and finite"):
        losses.ofa(*logits, LABELS, epsilon=epsilon)


def test_traced_epsilon_beside_impossible_classes(logits):
    student, teacher = logits
    teacher = teacher.at[:, 1].set(-jnp.inf)
    gradient = jax.grad(lambda e: jnp.sum(ofa(student, teacher, LABELS, epsilon=e)))(1.5)
    assert jnp.isfinite(gradient)
    assert gradient != 0
