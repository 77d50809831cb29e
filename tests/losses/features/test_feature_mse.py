import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

SHAPES = [(3, 4), (3, 5, 4), (3, 2, 2, 4)]


def features(shape):
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mse_is_the_mean_of_all_but_the_batch(shape):
    student, teacher = features(shape)
    expected = np.mean((student - teacher).reshape(3, -1) ** 2, axis=1)
    np.testing.assert_allclose(losses.feature_mse(student, teacher), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cosine_is_the_mean_of_all_but_batch_and_feature(shape):
    student, teacher = features(shape)
    dot, lengths = np.sum(student * teacher, -1), np.linalg.norm(student, axis=-1)
    cosine = dot / (lengths * np.linalg.norm(teacher, axis=-1))
    expected = np.mean(1 - cosine.reshape(3, -1), axis=1)
    np.testing.assert_allclose(losses.feature_cosine(student, teacher), expected, rtol=1e-5)
    first = losses.feature_cosine(np.moveaxis(student, -1, 1), np.moveaxis(teacher, -1, 1), axis=1)
    np.testing.assert_allclose(first, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.feature_mse, losses.feature_cosine])
def test_gradients(loss):
    student, teacher = features((3, 5, 4))
    jax.test_util.check_grads(
        lambda x: loss(x, teacher), (student,), order=1, modes=("rev",), rtol=2e-2
    )


def test_cosine_of_zero_rows():
    student = jnp.array([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 0.0]]])
    teacher = jnp.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]])
    value, pullback = jax.vjp(lambda s: losses.feature_cosine(s, teacher), student)
    np.testing.assert_allclose(value, [0.5, 1.0], rtol=1e-6)
    (gradient,) = pullback(jnp.ones(2))
    chex.assert_trees_all_equal(gradient[0], jnp.zeros((2, 2)))
    chex.assert_trees_all_equal(gradient[1, 0], jnp.zeros(2))
    np.testing.assert_allclose(gradient[1, 1], [0.0, -0.5], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_cosine_does_not_depend_on_the_scale(scale):
    student, teacher = features((3, 4))
    np.testing.assert_allclose(
        losses.feature_cosine(student * np.float32(scale), teacher),
        losses.feature_cosine(student, teacher),
        rtol=1e-5,
    )


@pytest.mark.parametrize("loss", [losses.feature_mse, losses.feature_cosine])
def test_errors(loss):
    student, teacher = features((3, 2, 4))
    with pytest.raises(ValueError, match=r"\(3, 2, 3\).*\(3, 2, 4\).*connector"):
        loss(student[..., :3], teacher)
    with pytest.raises(ValueError, match=r"\[batch, ...\]"):
        loss(student[0, 0], teacher[0, 0])
    with pytest.raises(ValueError, match=r"mask of examples \[batch\].*\(3, 2\)"):
        loss(student, teacher, where=np.ones((3, 2), bool))
    sparse = losses.SparseLogits(teacher, teacher, teacher, (1.0,), 4)
    with pytest.raises(TypeError, match="distribution over classes, not features"):
        loss(student, sparse)


@pytest.mark.parametrize("axis", [0, -3, 3])
def test_the_batch_is_no_feature_axis(axis):
    with pytest.raises(ValueError, match=f"feature axis.*got {axis}"):
        losses.feature_cosine(*features((3, 2, 4)), axis=axis)
