import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import few

from jaxkd import losses

STUDENT, TEACHER = np.random.default_rng(0).normal(scale=3, size=(2, 5, 3)).astype(np.float32)

# Compiled: one program costs less than its operations one by one.
binary_kd = jax.jit(losses.binary_kd)


def test_it_is_the_divergence_of_two_bernoulli_distributions():
    p, q = (1 / (1 + np.exp(-x.astype(np.float64) / 2)) for x in (TEACHER, STUDENT))
    expected = 4 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))

    @jax.jit
    def slope(student):
        value, pullback = jax.vjp(lambda x: losses.binary_kd(x, TEACHER, temperature=2.0), student)
        return value, pullback(jnp.ones_like(value))[0]

    value, gradient = slope(STUDENT)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradient, 2 * (q - p), rtol=1e-4, atol=1e-6)


@few("shape", [(5, 1), (5,)])
def test_one_logit(shape):
    value = binary_kd(STUDENT[:, 0].reshape(shape), TEACHER[:, 0].reshape(shape))
    assert value.shape == shape
    np.testing.assert_array_equal(value.ravel(), binary_kd(STUDENT, TEACHER)[:, 0])


def test_masks_of_examples_and_of_entries():
    rows = np.arange(5) % 2 == 0
    plain = binary_kd(STUDENT, TEACHER)
    for where in (rows, np.broadcast_to(rows[:, None], (5, 3))):
        masked = binary_kd(STUDENT, TEACHER, where=where)
        np.testing.assert_array_equal(masked, np.where(rows[:, None], plain, 0))


_finite = st.floats(-(2.0**100), 2.0**100, width=32)
_value_and_slope = jax.jit(
    jax.value_and_grad(lambda s, t, T: losses.binary_kd(s, t, temperature=T)),
)


@settings(max_examples=60, deadline=None)
@given(student=_finite, teacher=_finite, temperature=st.floats(0.125, 100.0, width=32))
def test_any_logits_give_finite_losses_that_are_not_negative(student, teacher, temperature):
    value, slope = _value_and_slope(student, teacher, temperature)
    assert np.isfinite(value) and np.isfinite(slope)
    assert value >= -1e-6 * max(1, temperature**2)


def test_logits_of_any_size():
    student, teacher = np.array([[1, -1, 1, -1, 0], [1, -1, -1, 1, 1]], np.float32) * 1e30
    value = binary_kd(student, teacher, temperature=1.0)
    np.testing.assert_allclose(value, [0, 0, 1e30, 1e30, np.log(2)], rtol=1e-6)


def test_wrong_arguments_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"logits of shape \(5, 3\) and .* of shape \(5, 2\) must"):
        losses.binary_kd(STUDENT, TEACHER[:, :2])
    with pytest.raises(ValueError, match=r"of shape \(5,\) and .* of shape \(5, 1\) must"):
        losses.binary_kd(STUDENT[:, 0], TEACHER[:, :1])
    sparse = losses.SparseLogits(TEACHER, TEACHER, TEACHER, (4.0,), 4)
    with pytest.raises(TypeError, match="SparseLogits: .*every entry has a target of its own"):
        losses.binary_kd(STUDENT, sparse)
