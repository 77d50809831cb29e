import dataclasses
import time
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd.compression import (
    Latency,
    count_parameters,
    flops,
    latency,
    measure_cost,
    parameter_bytes,
    program_flops,
)


@dataclasses.dataclass
class FakeNetwork:
    function: Callable[[Any, Any], dict[str, jax.Array]]
    params: Any
    state: Any = None

    def all_params(self):
        return self.params

    def apply(self, params, state, inputs, *, train=False, key=None):
        assert train is False and key is None
        return self.function(params, inputs), state


def _conv(x, kernel, padding="VALID", groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _dense_network(features_in=64, features_out=10):
    params = {"kernel": jnp.ones((features_in, features_out)), "bias": jnp.zeros(features_out)}
    return FakeNetwork(lambda p, x: {"logits": x @ p["kernel"] + p["bias"]}, params)


def test_parameters_and_bytes_of_a_mixed_tree():
    params = {
        "a": jnp.ones((3, 4)),
        "b": [np.ones((5,), np.float16), jnp.ones((7,), jnp.int8)],
        "c": None,
    }
    assert count_parameters(params) == 12 + 5 + 7
    assert parameter_bytes(params) == 12 * 4 + 5 * 2 + 7
    assert count_parameters({}) == parameter_bytes({}) == 0


@pytest.mark.parametrize(("size", "expected"), [(8, 4), (9, 5), (1, 1)])
def test_four_bit_numbers_count_as_packed(size, expected):
    assert parameter_bytes({"w": jnp.ones((size,), jnp.int4)}) == expected


def test_a_leaf_that_is_no_array_is_refused_by_its_path():
    with pytest.raises(TypeError, match=r"params\['rate'\] is a float"):
        count_parameters({"rate": 0.5})


@pytest.mark.parametrize("batch", [1, 8])
def test_dense_layer_matches_the_hand_count(batch):
    expected = 2 * 64 * 10 + 10
    assert flops(_dense_network(), jnp.ones((batch, 64))) == expected


@pytest.mark.parametrize("groups", [1, 2, 16])
def test_convolution_matches_the_hand_count(groups):
    kernel = jnp.ones((3, 3, 16 // groups, 32))
    network = FakeNetwork(lambda p, x: {"logits": _conv(x, p, groups=groups)}, kernel)
    expected = 2 * 26 * 26 * 9 * (16 // groups) * 32
    assert flops(network, jnp.ones((4, 28, 28, 16))) == expected


def test_taps_on_padding_are_not_counted():
    kernel = jnp.ones((3, 3, 16, 32))
    network = FakeNetwork(lambda p, x: {"logits": _conv(x, p, "SAME")}, kernel)
    # Along one axis of 28, three taps at 28 places, less the one beyond each border.
    taps = (3 * 28 - 2) ** 2
    assert flops(network, jnp.ones((4, 28, 28, 16))) == 2 * taps * 16 * 32


def test_compiled_convolutions_are_counted_on_this_backend():
    if jax.default_backend() != "cpu":
        pytest.skip("other backends may call a library whose cost XLA does not know")
    x, kernel = jnp.ones((8, 28, 28, 16)), jnp.ones((3, 3, 16, 32))
    lowered = jax.jit(_conv).lower(x, kernel)
    expected = 2 * 8 * 26 * 26 * 9 * 16 * 32
    assert program_flops(lowered) == program_flops(lowered.compile()) == expected


def test_features_that_the_logits_do_not_need_are_free():
    def function(p, x):
        return {"logits": x @ p, "hidden": x @ (p + 1.0)}

    network = FakeNetwork(function, jnp.ones((64, 10)))
    assert flops(network, jnp.ones((4, 64))) == 2 * 64 * 10


def test_an_encoder_without_logits_counts_all_its_outputs():
    network = FakeNetwork(lambda p, x: {"embedding": x @ p}, jnp.ones((64, 16)))
    assert flops(network, jnp.ones((4, 64))) == 2 * 64 * 16


def _stack(unroll):
    def function(p, x):
        if unroll:
            for i in range(p.shape[0]):
                x = jnp.tanh(x @ p[i])
            return {"logits": x}
        return {"logits": jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, p)[0]}

    return FakeNetwork(function, jnp.ones((6, 32, 32)))


def test_a_scan_over_layers_costs_as_much_as_its_layers():
    x = jnp.ones((128, 32))
    unrolled, scanned = flops(_stack(True), x), flops(_stack(False), x)
    assert unrolled >= 6 * 2 * 32 * 32
    assert scanned == pytest.approx(unrolled, rel=0.01)  # The loop adds its counter.


def test_nested_scans_inside_a_jitted_function_multiply():
    @jax.jit
    def inner(p, x):
        def outer_body(carry, _):
            return jax.lax.scan(lambda c, w: (c @ w, None), carry, p)[0], None

        return jax.lax.scan(outer_body, x, None, length=5)[0]

    network = FakeNetwork(lambda p, x: {"logits": inner(p, x)}, jnp.ones((3, 32, 32)))
    assert flops(network, jnp.ones((16, 32))) == pytest.approx(5 * 3 * 2 * 32 * 32, rel=0.01)


def test_a_loop_of_unknown_length_is_refused():
    def function(p, x):
        return {"logits": jax.lax.while_loop(lambda c: jnp.sum(c) < 1e6, lambda c: c @ p, x)}

    with pytest.raises(ValueError, match="while loop"):
        flops(FakeNetwork(function, jnp.ones((8, 8))), jnp.ones((2, 8)))


def test_flops_need_only_shapes():
    shape = jax.ShapeDtypeStruct((4, 64), jnp.float32)
    assert flops(_dense_network(), shape) == flops(_dense_network(), jnp.ones((4, 64)))


def test_a_program_without_arithmetic_costs_nothing():
    assert program_flops(jax.jit(lambda x: x[::-1]).lower(jnp.ones(8))) == 0.0


def test_an_unknown_cost_is_refused():
    class Unknown:
        def cost_analysis(self):
            return {"flops": -1.0}

    with pytest.raises(ValueError, match="Pass the lowered program"):
        program_flops(Unknown())


def test_percentiles_of_the_timed_calls_only(monkeypatch):
    # A clock that makes the calls last 1 s, 2 s, ... 11 s.
    ticks = iter([edge for i in range(1, 12) for edge in (0.0, float(i))])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    result = latency(_dense_network(), jnp.ones((4, 64)), repeats=11, warmup=3)
    assert result == Latency(median_s=6.0, p10_s=2.0, p90_s=10.0, batch_size=4)
    assert result.examples_per_second == pytest.approx(4 / 6)


def test_timing_compiles_once():
    network = _dense_network()
    network.function = chex.assert_max_traces(network.function, n=1)
    latency(network, np.ones((4, 64), np.float32), repeats=3, warmup=2)


@pytest.mark.parametrize("counts", [{"repeats": 0}, {"warmup": 0}])
def test_counts_below_one_are_refused(counts):
    with pytest.raises(ValueError, match="must be at least 1"):
        latency(_dense_network(), jnp.ones((4, 64)), **counts)


@pytest.mark.parametrize(
    "inputs",
    [{}, jnp.ones((0, 64)), jnp.ones(()), {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))}],
    ids=["nothing", "empty", "scalar", "uneven"],
)
def test_inputs_without_one_batch_axis_are_refused(inputs):
    with pytest.raises(ValueError, match="leading batch axis"):
        flops(_dense_network(), inputs)


def test_measure_gathers_everything():
    def function(p, x):
        return {"logits": x["image"] @ p["kernel"] * x["mask"]}

    network = FakeNetwork(function, {"kernel": jnp.ones((64, 10))})
    inputs = {"image": np.ones((16, 64), np.float32), "mask": np.ones((16, 1), np.float32)}
    result = measure_cost(network, inputs, repeats=2, warmup=1)
    assert (result.parameters, result.parameter_bytes) == (640, 2560)
    assert result.flops == 2 * 64 * 10 + 10
    assert (result.single.batch_size, result.batched.batch_size) == (1, 16)
    assert result.latency_s == result.single.median_s > 0
    assert result.throughput == pytest.approx(16 / result.batched.median_s)
    assert result.batched.p10_s <= result.batched.median_s <= result.batched.p90_s
