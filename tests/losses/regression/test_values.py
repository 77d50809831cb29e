"""Losses of values with labels and with a teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

from jaxkd import losses

STUDENT, TEACHER, LABELS = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def test_they_are_those_of_optax():
    @jax.jit
    def both(delta):
        square = optax.squared_error(STUDENT, LABELS)
        huber = optax.huber_loss(STUDENT, LABELS, delta=delta)
        ours = losses.squared_error(STUDENT, LABELS), losses.regression_kd(STUDENT, LABELS)
        options = {"delta": delta}
        linear = (
            losses.huber_loss(STUDENT, LABELS, **options),
            losses.regression_kd(STUDENT, LABELS, **options),
        )
        return square, ours, huber, linear

    for delta in (0.3, 1.0):
        square, ours, huber, linear = both(delta)
        for expected, values in ((square, ours), (huber, linear)):
            for value in values:
                np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


def test_a_student_is_bounded_by_its_teacher():
    student = jnp.array([[1.0, 3.0], [0.0, 0.5]])
    teacher = jnp.array([[2.0, 2.0], [0.6, 0.0]])
    labels = jnp.zeros((2, 2))
    call = jax.jit(losses.bounded_regression, static_argnames="axis")
    np.testing.assert_allclose(call(student, teacher, labels), [[0, 9], [0, 0.25]])
    np.testing.assert_allclose(call(student, teacher, labels, margin=3.5), [[1, 9], [0, 0.25]])
    whole = call(student, teacher, labels, axis=-1)
    np.testing.assert_allclose(whole, [[1, 9], [0, 0]])


@few("name", ["squared_error", "huber_loss", "gaussian_nll"])
def test_one_value_has_labels_of_one_axis(name):
    call = jax.jit(getattr(losses, name))
    column = STUDENT[:, :1]
    sides = [(x, x) if name == "gaussian_nll" else x for x in (column, column[:, 0])]
    value, flat = (call(side, LABELS[:, 0]) for side in sides)
    assert value.shape == (5, 1) and flat.shape == (5,)
    np.testing.assert_array_equal(value[:, 0], flat)


def test_masks_of_examples_and_of_values():
    rows = np.arange(5) % 2 == 0
    plain = losses.regression_kd(STUDENT, TEACHER)
    for where in (rows, np.broadcast_to(rows[:, None], (5, 4))):
        masked = losses.regression_kd(STUDENT, TEACHER, where=where)
        np.testing.assert_array_equal(masked, np.where(rows[:, None], plain, 0))


def test_wrong_arguments_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"int32 of shape \(5,\) are classes.*astype\(jnp.float32"):
        losses.squared_error(STUDENT[:, 0], np.zeros(5, np.int32))
    with pytest.raises(ValueError, match=r"\(5, 4\) need float labels .* got float32 .*\(5,\)"):
        losses.huber_loss(STUDENT, LABELS[:, 0])
    with pytest.raises(ValueError, match=r"values of shape \(5, 4\) and .* of shape \(5,\) must"):
        losses.regression_kd(STUDENT, TEACHER[:, 0])
    for delta in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="delta must be positive"):
            losses.huber_loss(STUDENT, LABELS, delta=delta)
        with pytest.raises(ValueError, match="delta must be positive"):
            losses.regression_kd(STUDENT, TEACHER, delta=delta)
    with pytest.raises(ValueError, match="margin must not be negative, got -1"):
        losses.bounded_regression(STUDENT, TEACHER, LABELS, margin=-1.0)
