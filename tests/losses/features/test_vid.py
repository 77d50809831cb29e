import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_is_the_gaussian_likelihood_without_its_constant():
    mean, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    variance = np.linspace(0.1, 3.0, 5, dtype=np.float32)
    logpdf = jax.scipy.stats.norm.logpdf(teacher, mean, np.sqrt(variance))
    expected = -np.mean(logpdf, axis=(1, 2, 3)) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(losses.vid(mean, teacher, variance=variance), expected, rtol=1e-4)
    tokens = losses.vid(mean.reshape(2, 12, 5), teacher.reshape(2, 12, 5), variance=variance)
    np.testing.assert_allclose(tokens, expected, rtol=1e-4)


def test_the_larger_map_is_pooled():
    mean, teacher = maps(2, 4, 4, 3), maps(2, 2, 2, 3, seed=1)
    pooled = mean.reshape(2, 2, 2, 2, 2, 3).mean(axis=(2, 4))
    ones = np.ones(3)
    np.testing.assert_allclose(
        losses.vid(mean, teacher, variance=ones),
        losses.vid(pooled, teacher, variance=ones),
        rtol=1e-5,
    )


def test_the_variance_is_trained_to_the_squared_error():
    mean, teacher = maps(1, 4, 2), maps(1, 4, 2, seed=1)
    best = jnp.mean(jnp.square(teacher - mean), axis=(0, 1))
    gradient = jax.grad(lambda v: losses.vid(mean, teacher, variance=v)[0])(best)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_masked_examples_do_not_move_the_variance():
    mean, teacher = maps(3, 4, 2), maps(3, 4, 2, seed=1)
    where = np.array([True, False, True])
    spoiled = np.where(where[:, None, None], mean, np.nan)

    def loss(variance, mean, teacher, where=None):
        return jnp.sum(losses.vid(mean, teacher, variance=variance, where=where))

    gradient = jax.grad(loss)(jnp.ones(2), spoiled, teacher, where)
    expected = jax.grad(loss)(jnp.ones(2), mean[where], teacher[where])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize("variance", [1e-3, 0.5, 5.0, 1e3])
def test_scale_and_variance_are_inverse(variance):
    scale = losses.vid_log_scale(variance)
    np.testing.assert_allclose(losses.vid_variance(scale), variance, rtol=1e-4)


def test_variance_is_finite_where_the_exponential_is_not():
    value, gradient = jax.value_and_grad(losses.vid_variance)(1000.0)
    np.testing.assert_allclose((value, gradient), (1000.0, 1.0))
    value, gradient = jax.value_and_grad(losses.vid_variance)(-1000.0)
    np.testing.assert_allclose((value, gradient), (1e-5, 0.0))


def test_errors():
    mean, teacher = maps(2, 3, 4), maps(2, 3, 4)
    with pytest.raises(ValueError, match=r"\[channels\] = \(4,\).*got \(3,\)"):
        losses.vid(mean, teacher, variance=np.ones(3))
    with pytest.raises(ValueError, match=r"\(2, 3, 3\).*\(2, 3, 4\).*connector"):
        losses.vid(mean[..., :3], teacher, variance=np.ones(4))
    with pytest.raises(
        ValueError, match=r"\(2, 2, 4\).*\(2, 3, 4\).*numbers of tokens must be equal"
    ):
        losses.vid(mean[:, :2], teacher, variance=np.ones(4))
    with pytest.raises(ValueError, match=r"above epsilon.*1e-06 and 1e-05"):
        losses.vid_log_scale(1e-6)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        losses.vid_variance(0.0, epsilon=0.0)
