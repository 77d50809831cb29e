import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats


@pytest.mark.parametrize(
    ("student", "teacher", "cost"),
    [
        (1.0, 3.0, 4.0),
        (5.0, 3.0, 4.0),
        (-9.0, 3.0, 144.0),
        (-0.5, -3.0, 0.25),
        (-9.0, -3.0, 0.0),
        (0.0, -0.5, 0.25),
        (-0.75, -0.5, 0.0),
    ],
)
def test_one_neuron(student, teacher, cost):
    value = losses.ofd(jnp.full((1, 1), student), jnp.full((1, 1), teacher), margin=-1.0)
    np.testing.assert_allclose(value, [cost])


def test_margins_belong_to_channels():
    student, teacher = jnp.zeros((2, 3, 3, 2)), jnp.full((2, 3, 3, 2), -9.0)
    value = losses.ofd(student, teacher, margin=jnp.array([-1.0, -2.0]))
    np.testing.assert_allclose(value, [9 * (1 + 4)] * 2)


def test_without_margin_the_target_is_the_teacher():
    student, teacher = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    chex.assert_trees_all_close(
        losses.ofd(student, teacher, margin=-jnp.inf),
        losses.ofd(student, teacher, margin=np.full(5, -1e30)),
    )


def test_the_margin_is_part_of_the_teacher():
    def loss(margin):
        student, teacher = jnp.zeros((1, 2)), jnp.array([[-9.0, 1.0]])
        return losses.ofd(student, teacher, margin=margin)[0]

    value, gradient = jax.value_and_grad(loss)(jnp.array([-1.0, -1.0]))
    assert value == 2.0
    chex.assert_trees_all_equal(gradient, jnp.zeros(2))


def test_margin_is_the_mean_of_the_negative_part():
    scale = np.array([1.0, -2.0, 0.5, 1e-4, 3.0])
    bias = np.array([0.0, 1.5, -4.0, -2.0, 9.0])
    expected = [
        stats.truncnorm.mean(-np.inf, -b / abs(s), loc=b, scale=abs(s))
        for s, b in zip(scale, bias, strict=True)
    ]
    np.testing.assert_allclose(losses.ofd_margin(scale, bias), expected, rtol=1e-5)


def test_margin_of_rarely_negative_channels():
    bounds = stats.norm.isf(0.001) + np.array([-1e-3, 1e-3])
    margin = losses.ofd_margin(2 * np.ones(2), 2 * bounds)
    assert margin[0] > -1 and margin[1] == -6
    np.testing.assert_allclose(losses.ofd_margin(np.ones(1), np.full(1, 50.0)), [-3])


def test_margin_of_channels_that_never_vary():
    margin, pullback = jax.vjp(
        jax.jit(losses.ofd_margin), jnp.zeros(3), jnp.array([-2.0, 0.0, 2.0])
    )
    np.testing.assert_allclose(margin, [-2, 0, 0])
    chex.assert_tree_all_finite(pullback(jnp.ones(3)))


def test_errors():
    features = jnp.zeros((2, 3, 3, 4))
    with pytest.raises(ValueError, match=r"\[channels\] = \(4,\), got shape \(3,\)"):
        losses.ofd(features, features, margin=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"\(4,\) and bias of shape \(3,\)"):
        losses.ofd_margin(jnp.ones(4), jnp.ones(3))
