import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_vkd_pools_both_sides_and_normalizes_the_teacher():
    tokens, teacher = array(3, 7, 5), array(3, 2, 2, 5, seed=1)
    target = teacher.mean((1, 2))
    target = (target - target.mean(-1, keepdims=True)) / np.sqrt(
        target.var(-1, keepdims=True) + 1e-5
    )
    size = np.abs(tokens.mean(1) - target)
    expected = np.where(size < 1, size**2 / 2, size - 0.5).mean(-1)
    assert (size > 1).any() and (size < 1).any()
    np.testing.assert_allclose(jax.jit(losses.vkd)(tokens, teacher), expected, rtol=1e-4)


def test_vkd_of_a_constant_teacher_is_finite():
    loss = jax.jit(lambda s: jnp.sum(losses.vkd(s, jnp.full((2, 5), 3.0))))
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(array(2, 5)))
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_errors():
    features = array(2, 5)
    with pytest.raises(ValueError, match=r"\(2, 4\) and teacher \(2, 5\).*connector"):
        losses.vkd(features[:, :4], features)
