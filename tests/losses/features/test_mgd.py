import compiled_losses as losses
import jax
import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (3, 8, 5), (3, 40)], ids=str)
def test_is_the_sum_of_squares(shape):
    student, teacher = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    expected = np.square(student - teacher).reshape(3, -1).sum(1)
    np.testing.assert_allclose(losses.mgd(student, teacher), expected, rtol=1e-5)


def test_masked_examples_never_enter():
    student, teacher = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
    student[1] = np.nan
    value, pullback = jax.vjp(
        lambda s: losses.mgd(s, teacher, where=np.array([True, False])), student
    )
    np.testing.assert_allclose(value, [4.0, 0.0])
    np.testing.assert_allclose(pullback(np.ones(2, np.float32))[0], [[2.0] * 4, [0.0] * 4])


def test_errors():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*connector"):
        losses.mgd(np.ones((2, 3)), np.ones((2, 4)))
