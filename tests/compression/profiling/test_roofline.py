import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd.compression import (
    ArithmeticIntensity,
    DevicePeak,
    arithmetic_intensity,
    measure_device_peak,
    memory_use,
    sparse_bytes,
)


def dense(features_in=64, features_out=10):
    return jaxkd.from_nnx(nnx.Linear(features_in, features_out, rngs=nnx.Rngs(0)))


def test_memory_of_a_dense_layer_is_its_arrays():
    inputs = jnp.ones((32, 64))
    needed = memory_use(dense(), inputs)
    assert needed.parameters == 4 * 650 and needed.inputs == inputs.nbytes
    assert needed.outputs == 4 * 320
    assert needed.peak >= needed.parameters + needed.inputs + needed.outputs
    wide = nnx.Sequential(
        nnx.Linear(64, 4096, rngs=nnx.Rngs(0)),
        jnp.sin,
        nnx.Linear(4096, 10, rngs=nnx.Rngs(0)),
    )
    assert memory_use(jaxkd.from_nnx(wide), inputs).temporaries >= 4 * 32 * 4096


def test_intensity_matches_the_hand_count():
    found = arithmetic_intensity(dense(512, 256), jax.ShapeDtypeStruct((128, 512), jnp.float32))
    product = 2 * 128 * 512 * 256
    assert product <= found.flops <= 1.01 * product
    moved = 4 * (128 * 512 + 512 * 256 + 128 * 256)
    assert moved <= found.bytes_accessed <= 1.5 * moved  # the bias is a pass of its own
    assert found.flops_per_byte == found.flops / found.bytes_accessed


def test_the_roofline_is_the_slower_of_computing_and_fetching():
    device = DevicePeak("device", flops_per_second=100.0, bytes_per_second=10.0)
    assert device.ridge_point == 10.0
    for flops, bound, seconds in ((1000.0, "compute", 10.0), (50.0, "memory", 5.0)):
        call = ArithmeticIntensity(flops, 50.0)
        assert (call.bound(device), call.roofline_seconds(device)) == (bound, seconds)


def test_a_machine_is_measured():
    found = measure_device_peak(size=64, repeats=2)
    assert found.flops_per_second > 0 and found.bytes_per_second > 0 and found.name
    for options in ({"size": 0}, {"repeats": 0}):
        with pytest.raises(ValueError, match="size and repeats must be at least 1"):
            measure_device_peak(**options)


def test_inputs_without_one_batch_axis_are_refused():
    for function in (memory_use, arithmetic_intensity):
        with pytest.raises(ValueError, match="one leading batch axis"):
            function(dense(), jnp.ones(()))


@pytest.mark.parametrize(
    ("dtype", "zeros", "expected"),
    [(np.float32, 0, 320), (np.float32, 40, 4 * 40 + 10), (np.int8, 70, 10 + 10), (np.int8, 5, 80)],
)
def test_zeros_are_left_out_where_that_saves(dtype, zeros, expected):
    leaf = np.ones(80, dtype)
    leaf[:zeros] = 0
    assert sparse_bytes({"a": leaf}) == expected
    assert sparse_bytes({"a": jnp.asarray(leaf), "b": np.ones(3, dtype)}) > expected


def test_sparse_four_bit_numbers_are_packed():
    leaf = jnp.zeros(64, jnp.int4).at[:8].set(3)
    assert sparse_bytes(leaf) == 4 + 8
