import compiled_losses as losses
import jax
import numpy as np


def divergence(student, teacher):
    def neighborhoods(points):
        points = points.astype(np.float64)
        unit = points / (np.linalg.norm(points, axis=1, keepdims=True) + 1e-7)
        similarity = (unit @ unit.T + 1) / 2
        return similarity / similarity.sum(axis=1, keepdims=True)

    p, q = neighborhoods(teacher), neighborhoods(student)
    return np.mean(p * np.log((p + 1e-7) / (q + 1e-7)))


def test_is_the_definition():
    student, teacher = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(
        losses.pkt(student, teacher), divergence(student, teacher), rtol=1e-5
    )


def test_keeps_its_digits_where_both_sides_are_close():
    """Here the sum of float32 logarithms is off by a fifth."""
    teacher, noise = np.random.default_rng(0).normal(size=(2, 32, 16)).astype(np.float32)
    student = teacher + np.float32(1e-3) * noise
    np.testing.assert_allclose(
        losses.pkt(student, teacher), divergence(student, teacher), rtol=2e-3
    )


def test_zero_rows_have_no_gradient():
    student, teacher = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    student[2] = 0
    gradient = jax.jit(jax.grad(losses.pkt))(student, teacher)
    np.testing.assert_array_equal(gradient[2], 0)
    assert np.all(np.isfinite(gradient)) and np.any(gradient[0] != 0)
