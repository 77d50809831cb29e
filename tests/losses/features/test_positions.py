"""Maps of different height and width, where the losses themselves need equal ones."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses, ops

LOSSES = {
    "ab": losses.ab,
    "ofd": functools.partial(losses.ofd, margin=np.linspace(-1, -0.1, 5, dtype=np.float32)),
    "ofd_without_margin": functools.partial(losses.ofd, margin=-jnp.inf),
    "cwd": losses.cwd,
    "pkd": losses.pkd,
}
parametrize = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@parametrize
def test_the_larger_map_is_pooled(loss):
    student, teacher = maps(3, 8, 3, 5), maps(3, 4, 6, 5, seed=1)
    equal = ops.to_common_size(jnp.asarray(student), jnp.asarray(teacher))
    assert equal[0].shape == equal[1].shape == (3, 4, 3, 5)
    np.testing.assert_allclose(loss(student, teacher), loss(*equal), rtol=1e-5)


@parametrize
def test_pooling_knows_no_masked_examples(loss):
    student, teacher = maps(3, 8, 3, 5), maps(3, 4, 6, 5, seed=1)
    where = np.array([True, False, True])
    student[1], teacher[1] = np.nan, np.inf
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(loss(s, teacher, where=where))))(student)
    chex.assert_tree_all_finite(gradient)
    assert np.any(gradient[0]) and not np.any(gradient[1])
    expected = jax.jit(jax.grad(lambda s: jnp.sum(loss(s, teacher[where]))))(student[where])
    np.testing.assert_allclose(gradient[where], expected, rtol=1e-4, atol=1e-7)


def test_pooling_does_not_round():
    teacher = jnp.asarray(maps(2, 4, 4, 5)).astype(jnp.bfloat16)
    student = jnp.zeros((2, 2, 2, 5), jnp.bfloat16)
    value = losses.ofd(student, teacher, margin=-jnp.inf)
    pooled = ops.adaptive_average_pool(teacher.astype(jnp.float32), (2, 2))
    chex.assert_trees_all_close(value, jnp.sum(pooled**2, (1, 2, 3)), rtol=1e-6)


@parametrize
def test_channels_must_be_equal(loss):
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 4\).*\(2, 4, 4, 5\).*connector"):
        loss(maps(2, 8, 8, 4), maps(2, 4, 4, 5))
