import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def expected(student, teacher, mean_weight, epsilon):
    total = 0.0
    for weight, moment in (
        (mean_weight, lambda x: x.mean((1, 2))),
        (1.0, lambda x: np.sqrt(x.var((1, 2), ddof=1) + epsilon)),
    ):
        total += weight * np.sum((moment(student) - moment(teacher)) ** 2, axis=-1)
    return total


def test_moments_over_positions():
    student, teacher = maps(3, 4, 5, 6), 2 + maps(3, 4, 5, 6, seed=1)
    np.testing.assert_allclose(
        losses.wkd_feature(student, teacher, mean_weight=3.0, epsilon=0.1),
        expected(student, teacher, 3.0, 0.1),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.wkd_feature(student.reshape(3, 20, 6), teacher.reshape(3, 20, 6)),
        losses.wkd_feature(student, teacher),
        rtol=1e-5,
    )


def test_cells_overlap_where_the_grid_does_not_divide():
    student, teacher = maps(3, 5, 4, 6), maps(3, 5, 4, 6, seed=1)
    cells = [
        expected(student[:, rows, columns], teacher[:, rows, columns], 4.0, 1e-5)
        for rows in (slice(0, 3), slice(2, 5))
        for columns in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(
        losses.wkd_feature(student, teacher, grid=2), np.mean(cells, axis=0), rtol=1e-5
    )


def test_cells_of_one_position_have_no_deviation():
    student, teacher = maps(2, 2, 2, 3), maps(2, 2, 2, 3, seed=1)
    loss = jax.jit(jax.value_and_grad(lambda s: jnp.sum(losses.wkd_feature(s, teacher, grid=2))))
    value, gradient = loss(student)
    np.testing.assert_allclose(value, np.sum((student - teacher) ** 2), rtol=1e-5)
    np.testing.assert_allclose(gradient, 2 * (student - teacher), rtol=1e-4, atol=1e-6)


def test_constant_maps_have_finite_gradients():
    teacher = maps(2, 3, 3, 4)
    loss = jax.jit(jax.value_and_grad(lambda s: jnp.sum(losses.wkd_feature(s, teacher))))
    chex.assert_tree_all_finite(loss(jnp.ones_like(teacher)))


def test_errors():
    student = maps(2, 3, 3, 4)
    with pytest.raises(ValueError, match="epsilon must be positive and finite, got 0"):
        losses.wkd_feature(student, student, epsilon=0.0)
    with pytest.raises(ValueError, match="mean_weight must not be negative, got -1"):
        losses.wkd_feature(student, student, mean_weight=-1.0)
    with pytest.raises(ValueError, match="grid must be 1, or more for maps.*got 0"):
        losses.wkd_feature(student, student, grid=0)
    with pytest.raises(ValueError, match=r"got 2 for student \(2, 9, 4\)"):
        losses.wkd_feature(maps(2, 9, 4), maps(2, 9, 4), grid=2)
    with pytest.raises(ValueError, match="same number of channels"):
        losses.wkd_feature(student, student[..., :3])
