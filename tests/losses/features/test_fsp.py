import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_matrix_is_the_mean_of_products():
    first, second = maps(2, 3, 4, 5), maps(2, 3, 4, 6, seed=1)
    expected = np.zeros((2, 5, 6))
    for row in range(3):
        for column in range(4):
            expected += first[:, row, column, :, None] * second[:, row, column, None, :] / 12
    np.testing.assert_allclose(losses.fsp_matrix(first, second), expected, rtol=1e-4, atol=1e-6)
    tokens = losses.fsp_matrix(first.reshape(2, 12, 5), second.reshape(2, 12, 6))
    np.testing.assert_allclose(tokens, expected, rtol=1e-4, atol=1e-6)


def test_the_larger_of_the_two_layers_is_pooled():
    first, second = maps(2, 4, 4, 5), maps(2, 2, 2, 6, seed=1)
    pooled = first.reshape(2, 2, 2, 2, 2, 5).mean(axis=(2, 4))
    for a, b, c, d in ((first, second, pooled, second), (second, first, second, pooled)):
        chex.assert_trees_all_close(losses.fsp_matrix(a, b), losses.fsp_matrix(c, d), rtol=1e-5)


def test_is_the_mean_square_of_the_difference():
    student = maps(2, 4, 4, 5), maps(2, 2, 2, 6, seed=1)
    teacher = maps(2, 3, 3, 5, seed=2), maps(2, 3, 3, 6, seed=3)
    difference = losses.fsp_matrix(*student) - losses.fsp_matrix(*teacher)
    expected = np.mean(np.square(difference), axis=(1, 2))
    np.testing.assert_allclose(losses.fsp(student, teacher), expected, rtol=1e-5)


def test_masked_examples_never_enter():
    student, teacher = (maps(3, 2, 2, 4), maps(3, 2, 2, 4, seed=1)), 2 * (maps(3, 2, 2, 4, seed=2),)
    where = np.array([True, False, True])
    spoiled = tuple(np.where(where[:, None, None, None], layer, np.nan) for layer in student)

    def loss(features, teacher, where=None):
        return jnp.sum(losses.fsp(features, teacher, where=where))

    compiled = jax.jit(jax.value_and_grad(loss))
    value, gradient = compiled(spoiled, teacher, where)
    selected = jax.tree.map(lambda layer: layer[where], (student, teacher))
    expected = compiled(*selected)
    chex.assert_trees_all_close(
        (value, jax.tree.map(lambda layer: layer[where], gradient)), expected, rtol=1e-5
    )
    chex.assert_trees_all_equal(gradient[0][1], jnp.zeros((2, 2, 4)))


def test_errors():
    layer = maps(2, 3, 3, 4)
    with pytest.raises(ValueError, match=r"student must be \(first, second\).*tuple of shapes"):
        losses.fsp((layer,), (layer, layer))
    with pytest.raises(ValueError, match=r"teacher must be \(first, second\).*ndarray"):
        losses.fsp((layer, layer), np.stack([layer, layer]))
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 4\) and teacher \(2, 3, 3, 3\).*connector"):
        losses.fsp((layer, layer), (layer, layer[..., :3]))
    with pytest.raises(ValueError, match="no positions in common"):
        losses.fsp_matrix(maps(2, 9, 4), maps(2, 8, 4))
