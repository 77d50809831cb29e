import math

import compiled_losses as losses
import numpy as np
import pytest


def test_cc_multiplies_the_errors_of_neighbors():
    student = np.array([[1.0, 0.0], [-2.0, 3.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
    value = losses.cc(student, np.zeros_like(student))
    np.testing.assert_allclose(value, (2 + 3 + 1) / 3, rtol=1e-6)
    # Without the second row, the first and the third are neighbors.
    value = losses.cc(student, np.zeros_like(student), where=np.array([1, 0, 1, 1]))
    np.testing.assert_allclose(value, (0 + 1) / 2, rtol=1e-6)


def test_bilinear_is_the_distance_of_gram_matrices():
    student, teacher = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    expected = np.linalg.norm(student @ student.T - teacher @ teacher.T) / 16
    value = losses.cc_kernel(student, teacher, kernel="bilinear")
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.4])
def test_gaussian_is_a_taylor_series_of_the_kernel(gamma):
    student, teacher = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    student, teacher = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, teacher))

    def kernel(x, order):
        if order is None:
            return np.exp(-gamma * np.sum((x[:, None] - x) ** 2, axis=-1))
        powers = [(2 * gamma * x @ x.T) ** p / math.factorial(p) for p in range(order + 1)]
        return np.exp(-2 * gamma) * sum(powers)

    for order, exact in ((1, 1), (3, 3), (12, None)):
        expected = np.linalg.norm(kernel(student, exact) - kernel(teacher, exact)) / 16
        value = losses.cc_kernel(student, teacher, gamma=gamma, order=order)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "laplace"}, "'laplace'"),
        ({"gamma": 0.0}, "gamma must be positive.*0.0"),
        ({"order": 0}, "order.*at least 1, got 0"),
    ],
)
def test_errors_of_the_kernel(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.cc_kernel(np.eye(2), np.eye(2), **arguments)
