import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


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
    with pytest.raises(ValueError, match=r"same number of channels.*\(2, 3, 4\).*\(2, 3, 5\)"):
        losses.ickd(maps(2, 3, 4), maps(2, 3, 5))
