import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pooled(x):
    batch, height, width, classes = x.shape
    return x.reshape(batch, 2, height // 2, 2, width // 2, classes).mean((2, 4))


def test_is_the_mean_square_of_pooled_unit_maps():
    student, teacher = maps(3, 4, 6, 5), maps(3, 2, 8, 5, seed=1)
    unit_student, unit_teacher = (
        x / np.sqrt(np.sum(x**2, axis=(1, 2), keepdims=True))
        for x in (pooled(student), pooled(teacher))
    )
    expected = np.square(unit_student - unit_teacher).mean((1, 2, 3))
    np.testing.assert_allclose(losses.cat_kd(student, teacher), expected, rtol=1e-4)
    expected = np.square(pooled(student) - pooled(teacher)).mean((1, 2, 3))
    value = losses.cat_kd(student, teacher, normalize=False)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_resolution_is_that_of_the_bins():
    student, teacher = maps(2, 4, 4, 3), maps(2, 4, 4, 3, seed=1)
    value = losses.cat_kd(student, teacher, resolution=4, normalize=False)
    np.testing.assert_allclose(value, losses.feature_mse(student, teacher), rtol=1e-5)


def test_maps_of_zeros_have_no_gradient():
    student, teacher = maps(1, 4, 4, 2), maps(1, 4, 4, 2, seed=1)
    student[..., 0] = 0
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(losses.cat_kd(s, teacher))))(student)
    assert not gradient[..., 0].any()
    assert np.isfinite(gradient).all() and gradient[..., 1].any()


def test_errors():
    with pytest.raises(ValueError, match=r"\[batch, height, width, channels\].*\(2, 4, 3\)"):
        losses.cat_kd(maps(2, 4, 3), maps(2, 4, 3))
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\) and teacher \(2, 4, 4, 5\)"):
        losses.cat_kd(maps(2, 4, 4, 3), maps(2, 4, 4, 5))
    with pytest.raises(ValueError, match="size must be positive"):
        losses.cat_kd(maps(2, 4, 4, 3), maps(2, 4, 4, 3), resolution=0)
