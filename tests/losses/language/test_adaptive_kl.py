import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def softmax(logits):
    exp = np.exp(np.asarray(logits, np.float64))
    return exp / exp.sum(-1, keepdims=True)


def by_hand(student, teacher, tail_mass):
    q, p = softmax(student), softmax(teacher)
    gap = {True: 0.0, False: 0.0}
    mass = 0.0
    for i in np.argsort(p):
        mass += p[i]
        gap[bool(mass < tail_mass)] += abs(p[i] - q[i])
    forward, reverse = np.sum(p * np.log(p / q)), np.sum(q * np.log(q / p))
    return (gap[False] * forward + gap[True] * reverse) / (gap[False] + gap[True])


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("tail_mass", [0.3, 0.5, 0.8])
def test_weighs_by_the_gaps_in_head_and_tail(logits, tail_mass):
    expected = [by_hand(s, t, tail_mass) for s, t in zip(*logits, strict=True)]
    np.testing.assert_allclose(
        losses.adaptive_kl(*logits, tail_mass=tail_mass), expected, rtol=1e-4
    )


def test_without_a_tail_it_is_the_forward_divergence(logits):
    np.testing.assert_allclose(
        losses.adaptive_kl(*logits, tail_mass=0.0), losses.kl_divergence(*logits), rtol=1e-6
    )


def test_weights_carry_no_gradient(logits):
    student, teacher = logits[0, 0], logits[1, 0]
    forward, reverse = (
        jax.grad(f)(student, teacher) for f in (losses.kl_divergence, losses.reverse_kl_divergence)
    )
    got = jax.grad(losses.adaptive_kl)(student, teacher)
    # A mixture of the two gradients with weights that sum to 1: one share explains all entries.
    share = jnp.vdot(got - reverse, forward - reverse) / jnp.sum(jnp.square(forward - reverse))
    assert 0 < share < 1
    np.testing.assert_allclose(got, share * forward + (1 - share) * reverse, atol=1e-6)


def test_equal_and_extreme_logits_have_finite_gradients():
    student = jnp.array([[1.0, 2.0, 0.0], [500.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    teacher = jnp.array([[1.0, 2.0, 0.0], [0.0, 500.0, 0.0], [1.0, 0.0, -jnp.inf]])
    loss, gradient = jax.jit(jax.value_and_grad(lambda s: jnp.sum(losses.adaptive_kl(s, teacher))))(
        student
    )
    assert np.isfinite(loss) and np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient[0], 0, atol=1e-7)
    assert losses.adaptive_kl(student, teacher)[0] == 0


def test_refuses_a_mass_above_one(logits):
    with pytest.raises(ValueError, match="tail_mass"):
        losses.adaptive_kl(*logits, tail_mass=1.5)
