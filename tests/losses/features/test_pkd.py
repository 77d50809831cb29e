import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (6, 7, 5), (6, 5)], ids=str)
def test_pkd_standardizes_channels_over_the_batch(shape):
    student, teacher = maps(*shape), maps(*shape, seed=1)
    standard = []
    for features in (student, teacher):
        rows = features.reshape(-1, shape[-1])
        standard.append((rows - rows.mean(0)) / (rows.std(0, ddof=1) + 1e-6))
    expected = 0.5 * np.mean((standard[0] - standard[1]) ** 2)
    np.testing.assert_allclose(losses.pkd(student, teacher), expected, rtol=1e-5)


def test_pkd_is_that_of_the_selected_examples():
    student, teacher = maps(6, 2, 3, 4) + 7, maps(6, 2, 3, 4, seed=1)
    where = np.arange(6) % 3 != 1
    spoiled = [np.where(where[:, None, None, None], x, np.nan) for x in (student, teacher)]
    loss = jax.jit(jax.value_and_grad(losses.pkd))
    value, gradient = loss(*spoiled, where=where)
    expected = loss(student[where], teacher[where])
    chex.assert_trees_all_close((value, gradient[where]), expected, rtol=1e-4, atol=1e-7)
    chex.assert_trees_all_equal(gradient[~where], jnp.zeros((2, 2, 3, 4)))
    value, gradient = loss(*spoiled, where=np.zeros(6, bool))
    chex.assert_trees_all_equal((value, gradient), (jnp.zeros(()), jnp.zeros((6, 2, 3, 4))))


def test_pkd_of_constant_channels():
    """Where rounding makes the mean of equal values differ from them."""
    student, teacher = maps(6, 3, 3, 4), maps(6, 3, 3, 4, seed=1)
    student[..., 1] = 0.1
    value, gradient = jax.jit(jax.value_and_grad(losses.pkd))(student, teacher)
    assert 0 < value < 2 and np.max(np.abs(gradient)) < 1
    chex.assert_trees_all_equal(gradient[..., 1], jnp.zeros((6, 3, 3)))
    value, gradient = jax.jit(jax.value_and_grad(losses.pkd))(
        student[:1, :1, :1], teacher[:1, :1, :1]
    )
    chex.assert_trees_all_equal((value, gradient), (jnp.zeros(()), jnp.zeros((1, 1, 1, 4))))


def test_errors():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\).*\(2, 3, 5\).*connector"):
        losses.pkd(maps(2, 3, 4), maps(2, 3, 5))
