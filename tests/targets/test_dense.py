import jax.numpy as jnp
import numpy as np
import pytest
from codec_calls import roundtrip
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd.ops import adaptive_average_pool
from jaxkd.targets import Dense, Pooled

VALUES = jnp.asarray(np.random.default_rng(0).normal(size=(7, 30)) * 4, jnp.float32)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0), ("bfloat16", 2**-8), ("float16", 2**-11)]
)
def test_is_as_exact_as_its_type(dtype, tolerance):
    decoded = roundtrip(Dense(dtype), VALUES)
    assert decoded.dtype == jnp.float32
    np.testing.assert_allclose(decoded, VALUES, rtol=tolerance)


rows = st.lists(
    st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False) | st.just(-np.inf),
    min_size=5,
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=2, max_size=2))
def test_eight_bits_are_within_half_a_step_of_each_row(values):
    """And masks, zeros and the largest value survive."""
    values = np.asarray(values, np.float32)
    decoded = np.asarray(roundtrip(Dense("int8"), jnp.asarray(values)))
    np.testing.assert_array_equal(np.isneginf(decoded), np.isneginf(values))
    finite, restored = (np.where(np.isneginf(values), 0, x) for x in (values, decoded))
    largest = np.max(np.abs(finite), axis=-1, keepdims=True)
    # A row of numbers so small that their scale is no normal float becomes zero.
    assert np.all(np.abs(finite - restored) <= largest / 254 * 1.001 + 2e-36)
    np.testing.assert_array_equal(restored[finite == 0], 0)


def test_hidden_states_keep_a_scale_for_each_token():
    values = VALUES[:, None] * jnp.array([1.0, 1e-4])[:, None]
    relative = jnp.abs(roundtrip(Dense("int8"), values) / values - 1)
    small = jnp.abs(values) > 0.1 * jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    assert jnp.max(jnp.where(small, relative, 0)) < 0.041


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("size", [(4, 4), (2, 1), (3, 4)])
def test_maps_are_pooled(size, dtype):
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 4, 5)), jnp.bfloat16)
    expected = adaptive_average_pool(maps.astype(jnp.float32), size)
    decoded = roundtrip(Pooled(size, dtype), maps)
    assert decoded.dtype == jnp.float32
    tolerance = {"float32": 1e-6, "float16": 2**-11, "int8": 1 / 254}[dtype]
    np.testing.assert_allclose(decoded, expected, atol=tolerance * jnp.max(jnp.abs(expected)))
