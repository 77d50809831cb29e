import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def normalized(x, epsilon=1e-4):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + epsilon)


@pytest.mark.parametrize("exponent", [1.0, 4.0])
def test_srd_is_the_log_of_a_sum(exponent):
    student, teacher = rows(6, 3), rows(6, 3, seed=1)
    difference = np.abs(normalized(student) - normalized(teacher))
    np.testing.assert_allclose(
        losses.srd(student, teacher, exponent=exponent),
        np.log(np.sum(difference**exponent)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.srd(student, teacher, exponent=exponent, normalize=False),
        np.log(np.sum(np.abs(student - teacher) ** exponent)),
        rtol=1e-5,
    )


def test_srd_correlation_is_that_of_numpy():
    student, teacher = rows(6, 3), rows(6, 3, seed=1)
    correlation = np.array([np.corrcoef(student[:, i], teacher[:, i])[0, 1] for i in range(3)])
    expected = np.log(np.sum((1 - correlation) ** 4) + 1e-5)
    np.testing.assert_allclose(losses.srd_correlation(student, teacher), expected, rtol=1e-5)


def test_srd_correlation_sees_neither_scale_nor_shift():
    student, teacher = rows(6, 3), rows(6, 3, seed=1)
    np.testing.assert_allclose(
        losses.srd_correlation(1e15 * student, 3 * teacher + 1),
        losses.srd_correlation(student, teacher),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("loss", "least"),
    [
        (losses.srd, np.log(1e-16)),
        (lambda s, t: losses.srd(s, t, exponent=1.0, normalize=False), np.log(1e-16)),
        (losses.srd_correlation, np.log(1e-5)),
    ],
)
def test_equal_features_have_a_finite_value_and_no_gradient(loss, least):
    teacher = rows(6, 3)
    compiled = jax.jit(jax.value_and_grad(loss))
    value, gradient = compiled(teacher, teacher)
    np.testing.assert_allclose(value, least, rtol=1e-5)
    assert np.isfinite(gradient).all()
    # Compilers may round the two sides differently, and the logarithm's slope makes much of that.
    with jax.enable_x64(True):
        _, gradient = compiled(*[teacher.astype(np.float64)] * 2)
        assert gradient.dtype == np.float64
        np.testing.assert_allclose(gradient, 0, atol=1e-9)


@pytest.mark.parametrize("loss", [losses.srd, losses.srd_correlation])
def test_padding_changes_nothing(loss):
    student, teacher = rows(6, 3), rows(6, 3, seed=1)
    where = np.array([False, True, True, False, True, True])
    spoiled = np.where(where[:, None], student, np.nan)
    compiled = jax.jit(jax.value_and_grad(loss))
    value, gradient = compiled(spoiled, teacher, where=where)
    expected, expected_gradient = compiled(student[where], teacher[where])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[where], expected_gradient, rtol=1e-4, atol=1e-6)
    assert not gradient[~where].any()
    assert compiled(student, teacher, where=np.zeros(6, bool))[0] == 0


@pytest.mark.parametrize("loss", [losses.srd, losses.srd_correlation])
def test_dead_features_and_single_examples_are_finite(loss):
    student, teacher = rows(6, 3), rows(6, 3, seed=1)
    student[:, 0], teacher[:, 1] = 5.0, 0.0
    for size in (1, 6):
        value, gradient = jax.jit(jax.value_and_grad(loss))(student[:size], teacher[:size])
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_srd_of_large_differences_does_not_overflow():
    value, gradient = jax.value_and_grad(
        lambda s: losses.srd(s, jnp.zeros((2, 1)), normalize=False)
    )(jnp.array([[1e20], [1e20]]))
    np.testing.assert_allclose(value, np.log(2) + 80 * np.log(10), rtol=1e-5)
    np.testing.assert_allclose(gradient, 2e-20 * np.ones((2, 1)), rtol=1e-5)


def test_errors():
    student, teacher = rows(6, 3), rows(6, 4)
    for loss in (losses.srd, losses.srd_correlation):
        with pytest.raises(ValueError, match=r"\(6, 3\).*\(6, 4\).*connector"):
            loss(student, teacher)
        with pytest.raises(ValueError, match="exponent must be 1 or more, got 0.5"):
            loss(student, student, exponent=0.5)
        with pytest.raises(ValueError, match="epsilon must be positive and finite, got 0"):
            loss(student, student, epsilon=0.0)
