"""Programs are compiled, not run: XLA says how much memory their temporaries take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import memory
from jaxkd import losses


@pytest.mark.parametrize(
    ("ours", "public", "arguments"),
    [
        (losses.rkd_angle, memory.all_angles, (memory.array(512, 32),) * 2),
        (memory.crd, memory.all_negatives, memory.crd_arguments(256, 4096, 64, 1000)),
        (losses.nst, memory.all_channel_pairs, (memory.array(64, 8, 8, 64),) * 2),
    ],
    ids=["rkd_angle", "crd", "nst"],
)
def test_a_twentieth_of_what_public_code_needs(ours, public, arguments):
    needed = memory.temporary_bytes(ours, *arguments)
    assert 20 * needed < memory.temporary_bytes(public, *arguments)


def sample(shape):
    """Random unit vectors or maps, or indices of 9 rows."""
    generator = np.random.default_rng(sum(shape.shape))
    if shape.dtype == jnp.int32:
        return jnp.asarray(generator.integers(0, 9, shape.shape), jnp.int32)
    values = generator.normal(size=shape.shape)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize(
    ("ours", "public", "arguments"),
    [
        (losses.rkd_angle, memory.all_angles, (memory.array(6, 3), memory.array(6, 4))),
        (memory.crd, memory.all_negatives, memory.crd_arguments(4, 5, 3, 9)),
        (
            losses.nst,
            memory.all_channel_pairs,
            (memory.array(3, 2, 2, 4), memory.array(3, 2, 2, 5)),
        ),
    ],
    ids=["rkd_angle", "crd", "nst"],
)
def test_both_forms_are_the_same_loss(ours, public, arguments):
    arguments = [sample(argument) for argument in arguments]
    got, expected = jax.jit(lambda *a: (ours(*a), public(*a)))(*arguments)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
