import compiled_losses as losses
import jax
import numpy as np
import pytest


def embeddings():
    return np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("alpha", [1.01, 1.5])
def test_correlation_is_the_definition(alpha):
    student, teacher = embeddings()
    correlations = [np.corrcoef(student[:, d], teacher[:, d])[0, 1] for d in range(3)]
    expected = np.log2(np.sum(np.abs(1 - np.array(correlations) * 5 / 6) ** (2 * alpha)))
    value = losses.itrd_correlation(student, teacher, alpha=alpha)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_correlation_of_equal_sides_is_its_lowest():
    student, teacher = embeddings()
    value, gradient = jax.jit(jax.value_and_grad(losses.itrd_correlation))(student, student)
    np.testing.assert_allclose(value, np.log2(3) - 3 * np.log2(6), rtol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    assert losses.itrd_correlation(student, teacher) > value


def test_constant_features_are_uncorrelated():
    student, teacher = embeddings()
    student[:, 1] = 0.1
    gradient = jax.jit(jax.grad(losses.itrd_correlation))(student, teacher)
    np.testing.assert_array_equal(gradient[:, 1], 0)
    value = losses.itrd_correlation(student[:, 1:2], teacher[:, 1:2])
    np.testing.assert_allclose(value, 0, atol=1e-6)


def test_mutual_is_the_definition():
    student, teacher = embeddings()

    def cosines(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return x @ x.T

    both = cosines(student) * cosines(teacher)
    expected = np.sum((cosines(student) / 6) ** 2) - np.sum((both / 6) ** 2)
    np.testing.assert_allclose(losses.itrd_mutual(student, teacher), expected, rtol=1e-4)


def test_itrd_is_the_weighted_sum():
    student, teacher = embeddings()
    correlation = losses.itrd_correlation(student, teacher, alpha=1.2)
    mutual = losses.itrd_mutual(student, teacher)
    value = losses.itrd(student, teacher, correlation_weight=3.0, mutual_weight=5.0, alpha=1.2)
    np.testing.assert_allclose(value, 3 * correlation + 5 * mutual, rtol=1e-5)


def test_alpha_must_be_positive():
    with pytest.raises(ValueError, match=r"alpha must be positive.*-1\.0"):
        losses.itrd(*embeddings(), alpha=-1.0)
