import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

lskd = jax.jit(losses.lskd)
standardize = jax.jit(losses.standardize_logits, static_argnames="axis")
lskd_and_gradient = jax.jit(jax.value_and_grad(losses.lskd))


@jax.jit
def standardize_and_pull_back(logits, cotangent, where=None):
    value, pullback = jax.vjp(lambda x: losses.standardize_logits(x, where=where), logits)
    return value, pullback(cotangent)[0]


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 3, 5)) + 1, jnp.float32)


def test_mean_zero_and_sample_deviation_one(logits):
    value = standardize(logits[0])
    expected = logits[0] - np.mean(logits[0], axis=-1, keepdims=True)
    expected /= np.std(logits[0], axis=-1, keepdims=True, ddof=1)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    moved = standardize(logits[0].T, axis=0)
    np.testing.assert_allclose(moved, value.T, rtol=1e-6)
    half = standardize(logits[0].astype(jnp.bfloat16))
    chex.assert_type(half, jnp.float32)


def test_gradient_of_standardized_logits(logits):
    def plain(x):
        centered = x - jnp.mean(x, axis=-1, keepdims=True)
        return centered / (1e-7 + jnp.std(x, axis=-1, keepdims=True, ddof=1))

    for scale in (1.0, 1e-6):
        student = scale * logits[0]
        gradient, expected = (
            jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x) * logits[1])))(student)
            for f in (losses.standardize_logits, plain)
        )
        np.testing.assert_allclose(gradient * scale, expected * scale, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 3.1, -1e4, 1e30])
def test_constant_rows_are_zero_without_gradient(constant):
    """3.1 seven times over has a mean that rounds to another number."""
    row = jnp.full(7, constant)
    chex.assert_trees_all_equal(standardize(row), jnp.zeros(7))
    value, gradient = lskd_and_gradient(row, jnp.arange(7.0))
    assert value > 0.1
    chex.assert_trees_all_equal(gradient, jnp.zeros(7))


def test_masked_classes_do_not_count(logits):
    where = jnp.array([True, False, True, True, False])
    expected = standardize(logits[0][:, where])
    masked = jnp.where(where, logits[0], -jnp.inf)
    for value in (
        standardize(logits[0], where=where[None]),
        standardize(masked),
    ):
        np.testing.assert_allclose(value[:, where], expected, rtol=1e-5)
        assert jnp.all(jnp.isneginf(value[:, ~where]))


def test_masked_examples_are_zero(logits):
    where = jnp.array([True, False, True])
    student = logits[0].at[1].set(jnp.nan)
    value, gradient = standardize_and_pull_back(student, logits[1], where)
    chex.assert_trees_all_equal((value[1], gradient[1]), (jnp.zeros(5), jnp.zeros(5)))
    chex.assert_tree_all_finite((value, gradient))


def test_one_class_left():
    row = jnp.array([-jnp.inf, 2.0, -jnp.inf])
    value, gradient = standardize_and_pull_back(row, jnp.ones(3))
    chex.assert_trees_all_equal(value, jnp.array([-jnp.inf, 0.0, -jnp.inf]))
    chex.assert_trees_all_equal(gradient, jnp.zeros(3))


def test_gaps_whose_square_overflows():
    lowest = float(jnp.finfo(jnp.float32).min)
    row = jnp.array([1.0, lowest, 0.0, 0.0])
    value, gradient = standardize_and_pull_back(row, jnp.arange(4.0))
    np.testing.assert_allclose(value, [0.5, -1.5, 0.5, 0.5], rtol=1e-6)
    chex.assert_tree_all_finite(gradient)


def test_lskd_is_kd_of_standardized_logits(logits):
    expected = losses.kd(*map(standardize, logits), temperature=3.0)
    value = lskd(*logits, temperature=3.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_lskd_does_not_see_shift_and_scale(logits):
    student, teacher = logits
    value = lskd(student, teacher)
    np.testing.assert_allclose(lskd(7 * student - 3, 0.1 * teacher + 9), value, rtol=1e-3)
    np.testing.assert_allclose(lskd(7 * teacher - 3, teacher), 0, atol=1e-5)


def test_sparse_logits_are_refused(logits):
    sparse = losses.SparseLogits(
        indices=jnp.zeros((3, 1), jnp.int32),
        logits=jnp.zeros((3, 1)),
        tail=jnp.zeros((3, 1)),
        temperatures=(1.0,),
        num_classes=5,
    )
    with pytest.raises(TypeError, match="logits must be an array.*mean and deviation"):
        losses.standardize_logits(sparse)
    with pytest.raises(TypeError, match="teacher must be an array.*mean and deviation"):
        losses.lskd(logits[0], sparse)
    with pytest.raises(ValueError, match="axis 2 is out of range"):
        losses.standardize_logits(logits[0], axis=2)
