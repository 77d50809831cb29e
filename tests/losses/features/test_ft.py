import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("p1", "p2"), [(2, 1), (2, 2), (4, 1), (1, 2), (3, 1)])
def test_averages_channels(p1, p2):
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 2, seed=1)
    factors = (unit(np.mean(x**p1, axis=-1).reshape(3, -1)) for x in (student, teacher))
    expected = np.mean(np.abs(np.subtract(*factors)) ** p2, axis=1)
    np.testing.assert_allclose(losses.ft(student, teacher, p1=p1, p2=p2), expected, rtol=1e-4)


@pytest.mark.parametrize("p2", [1, 2])
def test_flattens_channels_as_in_the_paper(p2):
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 6, seed=1)
    difference = unit(student.reshape(3, -1)) - unit(teacher.reshape(3, -1))
    np.testing.assert_allclose(
        losses.ft(student, teacher, p2=p2, flatten=True),
        np.mean(np.abs(difference) ** p2, axis=1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("flatten", [True, False])
def test_nothing_at_a_multiple_of_the_teacher(flatten):
    """The magnitude has a kink there, where rounding must not decide."""
    teacher = maps(2, 4, 4, 6)
    gradient = jax.jit(
        jax.value_and_grad(lambda s: jnp.sum(losses.ft(s, teacher, flatten=flatten)))
    )
    for scale in (1, 3):
        value, slope = gradient(scale * teacher)
        chex.assert_trees_all_equal((value, slope), (jnp.zeros(()), jnp.zeros_like(teacher)))


def test_errors():
    student, teacher = maps(2, 3, 3, 4), maps(2, 3, 3, 5)
    losses.ft(student, teacher)
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 4\).*\(2, 3, 3, 5\): put a connector"):
        losses.ft(student, teacher, flatten=True)
    with pytest.raises(ValueError, match="whole number, got 1.5"):
        losses.ft(student, teacher, p1=1.5)
    with pytest.raises(ValueError, match="p1 must be 1 or more, got 0"):
        losses.ft(student, teacher, p1=0)
    with pytest.raises(ValueError, match="p2 must be 1 or more, got 0.5"):
        losses.ft(student, teacher, p2=0.5)
