import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxkd import losses


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_cwd_is_a_divergence_over_positions(temperature):
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 6, seed=1)
    log_q, log_p = (
        special.log_softmax(x.reshape(3, 20, 6) / temperature, axis=1) for x in (student, teacher)
    )
    divergence = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    np.testing.assert_allclose(
        losses.cwd(student, teacher, temperature=temperature),
        temperature**2 * np.mean(divergence, axis=-1),
        rtol=1e-4,
    )


def test_cwd_ignores_offsets_of_channels_and_survives_large_gaps():
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 6, seed=1)
    np.testing.assert_allclose(
        losses.cwd(student + maps(6, seed=2), teacher), losses.cwd(student, teacher), rtol=1e-4
    )
    loss = jax.value_and_grad(lambda s: jnp.sum(losses.cwd(s, -1000 * teacher, temperature=1.0)))
    chex.assert_tree_all_finite(loss(1000 * student))


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


def test_ickd_compares_rows_of_the_gram_matrix():
    student, teacher = maps(3, 4, 5, 6), maps(3, 2, 2, 6, seed=1)
    directions = []
    for features in (student, teacher):
        rows = features.reshape(3, -1, 6)
        gram = np.einsum("bpc,bpd->bcd", rows, rows)
        directions.append(gram / np.linalg.norm(gram, axis=2, keepdims=True))
    expected = np.sum((directions[0] - directions[1]) ** 2, axis=(1, 2)) / 6
    np.testing.assert_allclose(losses.ickd(student, teacher), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.ickd(np.float32(1e25) * student, teacher), expected, rtol=1e-5
    )


def test_ickd_of_dead_channels():
    student, teacher = maps(3, 2, 3, 4), maps(3, 2, 3, 4, seed=1)
    student[..., 2] = 0
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(losses.ickd(s, teacher))))(student)
    chex.assert_tree_all_finite(gradient)
    assert np.any(gradient[..., 0])


def test_errors():
    with pytest.raises(ValueError, match=r"maps .* or tokens .*\(2, 4\)"):
        losses.cwd(maps(2, 4), maps(2, 4))
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.cwd(maps(2, 3, 4), maps(2, 3, 4), temperature=0.0)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\).*\(2, 3, 5\).*connector"):
        losses.pkd(maps(2, 3, 4), maps(2, 3, 5))
    with pytest.raises(ValueError, match=r"same number of channels.*\(2, 3, 4\).*\(2, 3, 5\)"):
        losses.ickd(maps(2, 3, 4), maps(2, 3, 5))
