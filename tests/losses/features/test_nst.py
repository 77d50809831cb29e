import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def channels(features, norm=np.linalg.norm):
    vectors = features.reshape(len(features), -1, features.shape[-1])
    return vectors / norm(vectors, axis=1, keepdims=True)


def naive(student, teacher):
    """The kernel of all pairs of channels at all positions, as public code computes it."""

    def kernel(a, b):
        return jnp.mean(jnp.sum(a[..., :, None] * b[..., None, :], axis=1) ** 2, axis=(1, 2))

    s, t = (channels(x, jnp.linalg.norm) for x in (student, teacher))
    return kernel(s, s) + kernel(t, t) - 2 * kernel(s, t)


SHAPES = [
    pytest.param((3, 2, 3, 8), (3, 2, 3, 8), id="fewer positions"),
    pytest.param((3, 5, 4, 8), (3, 5, 4, 8), id="fewer channels"),
    pytest.param((3, 2, 3, 8), (3, 2, 3, 5), id="fewer positions, other channels"),
    pytest.param((3, 5, 4, 2), (3, 5, 4, 8), id="fewer channels, other channels"),
]


@pytest.mark.parametrize(("student", "teacher"), SHAPES)
def test_equals_all_pairs_of_channels(student, teacher):
    student, teacher = maps(*student), maps(*teacher, seed=1)
    results, expected = (
        jax.jit(jax.value_and_grad(lambda s, loss=loss: jnp.sum(loss(s, teacher))))(student)
        for loss in (losses.nst, naive)
    )
    chex.assert_trees_all_close(results, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 3, 8), (2, 5, 4, 8)], ids=["positions", "channels"])
def test_small_differences_are_exact(shape):
    """Sums of kernels would leave nothing but rounding."""
    teacher = maps(*shape)
    student = teacher + np.float32(1e-4) * maps(*shape, seed=1)
    moments = [
        np.einsum("bpc,bqc->bpq", *2 * [channels(x.astype(np.float64))]) / shape[-1]
        for x in (student, teacher)
    ]
    expected = np.sum((moments[0] - moments[1]) ** 2, axis=(1, 2))
    assert np.max(expected) < 1e-7
    np.testing.assert_allclose(losses.nst(student, teacher), expected, rtol=2e-2)


def test_dead_channels_have_no_gradient():
    student, teacher = maps(2, 2, 3, 8), maps(2, 2, 3, 8, seed=1)
    student[..., 2] = 0
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(losses.nst(s, teacher))))(student)
    assert np.all(np.isfinite(gradient)) and np.any(gradient)
    chex.assert_trees_all_equal(gradient[..., 2], jnp.zeros((2, 2, 3)))


def test_memory_at_a_batch_of_1024():
    """Compiled, never run: 8x8 maps of 256 channels. The naive form needs 34 GB."""
    shape = jax.ShapeDtypeStruct((1024, 8, 8, 256), jnp.float32)

    def temporary_bytes(loss):
        return jax.jit(loss).lower(shape, shape).compile().memory_analysis().temp_size_in_bytes

    ours = temporary_bytes(losses.nst)
    assert 0 < ours < 4 * 1024 * 64 * 256 * 4, "more than four arrays of the maps' size"
    assert 50 * ours < temporary_bytes(naive)
