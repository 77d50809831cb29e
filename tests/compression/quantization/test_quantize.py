import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import models
from jaxkd.compression import (
    LayerPrecision,
    calibrate,
    fake_quantize,
    from_fake_quantized,
    parameter_bytes,
    quantize,
)

qwix = pytest.importorskip("qwix")

IMAGES = jax.random.normal(jax.random.key(0), (16, 8, 8, 3))
TOKENS = jax.random.randint(jax.random.key(1), (8, 7), 1, 32)


@functools.cache  # Nothing changes a module that it is given.
def _cnn():
    return nnx.jit(lambda: models.CNN((8, 8, 3), (4, 8), 16, 5, rngs=nnx.Rngs(0)))()


@functools.cache
def _mlp():
    return nnx.jit(lambda: models.MLP(192, (32,), 5, rngs=nnx.Rngs(0)))()


class _Separable(nnx.Module):
    """What MobileNets are made of: a depthwise convolution and a 1×1 one, normalized."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.depthwise = nnx.Conv(3, 6, (3, 3), feature_group_count=3, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.pointwise = nnx.Conv(6, 5, (1, 1), use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.pointwise(nnx.relu(self.norm(self.depthwise(x)))).mean((1, 2))


def _logits(model, inputs):
    network = jaxkd.from_nnx(model)
    return jax.jit(network.apply)(network.params, network.state, inputs)[0]["logits"]


def _error(model, other, inputs):
    """Of the second module's logits, of the largest of the first's."""
    first = _logits(model, inputs)
    return float(jnp.max(jnp.abs(first - _logits(other, inputs))) / jnp.max(jnp.abs(first)))


@few(
    ("make", "inputs"),
    [
        (_cnn, IMAGES),
        (_mlp, IMAGES),
        (nnx.jit(lambda: models.ResNet(8, 3, 5, widths=(4, 4, 8), rngs=nnx.Rngs(0))), IMAGES),
        (nnx.jit(_Separable), IMAGES),
        (nnx.jit(lambda: models.Encoder(32, 16, 2, 2, num_classes=5, rngs=nnx.Rngs(0))), TOKENS),
    ],
    ids=["cnn", "mlp", "resnet", "separable", "encoder"],
)
def test_int8_is_near_the_module_and_a_quarter_of_its_kernels(make, inputs):
    model = make()
    before = jaxkd.from_nnx(model).params
    small = quantize(model)
    after = jaxkd.from_nnx(small).params
    kernels = [name for name in before if name.endswith(".kernel")]
    assert kernels
    assert all(after[name].dtype == jnp.int8 for name in kernels)
    scales = sum(before[name].shape[-1] for name in kernels)
    saved = 3 * sum(before[name].size for name in kernels)
    assert parameter_bytes(after) == parameter_bytes(before) - saved + 4 * scales
    assert 0 < _error(model, small, inputs) < 0.1


@few(
    ("weights", "activations", "bound"),
    [
        ("int8", None, 0.04),
        ("int4", None, 0.3),
        ("int4", "int8", 0.3),
        ("float8_e4m3fn", None, 0.1),
        ("float8_e4m3fn", "float8_e4m3fn", 0.1),
        ("float8_e5m2", "float8_e5m2", 0.25),
    ],
    keep=4,
)
def test_other_types_keep_the_logits_as_near_as_their_bits_allow(weights, activations, bound):
    model = _cnn()
    small = quantize(model, weights=weights, activations=activations)
    assert small.convs[0].kernel.dtype == small.head.kernel.dtype == jnp.dtype(weights)
    error = _error(model, small, IMAGES)
    assert 1e-4 < error < bound


def test_int4_counts_as_packed_and_its_scales_count():
    model = nnx.Linear(9, 3, use_bias=False, rngs=nnx.Rngs(0))
    params = jaxkd.from_nnx(quantize(model, weights="int4")).params
    assert sorted(params) == ["kernel", "kernel_scale"]
    assert parameter_bytes(params) == 14 + 3 * 4  # 27 numbers in 14 bytes


def test_products_are_those_of_integers():
    layer = nnx.Linear(6, 4, use_bias=False, rngs=nnx.Rngs(0))
    inputs = np.asarray(jax.random.normal(jax.random.key(0), (3, 6)))
    kernel = np.asarray(layer.kernel[...])
    scale, step = np.abs(kernel).max(0) / 127.5, np.abs(inputs).max(1, keepdims=True) / 127.5
    # Qwix spreads the range over 255 steps; its ends are clipped to 127.
    integers = np.clip(np.round(inputs / step), -127, 127) @ np.clip(
        np.round(kernel / scale), -127, 127
    )
    np.testing.assert_allclose(quantize(layer)(inputs), integers * step * scale, rtol=1e-5)


def test_the_program_multiplies_integers():
    text = jax.jit(lambda x: quantize(_cnn())(x)[0]).lower(IMAGES).as_text()
    assert text.count("stablehlo.convolution") == text.count("stablehlo.dot_general") == 2
    for line in text.splitlines():
        if "stablehlo.convolution" in line or "stablehlo.dot_general" in line:
            assert "xi8>" in line and "xi32>" in line


def test_rules_choose_layer_by_layer():
    small = quantize(
        _cnn(),
        rules={
            "convs.0": None,
            r"convs\..*": LayerPrecision("int4"),
            "head": LayerPrecision("int4"),
        },
    )
    dtypes = [x.kernel.dtype.name for x in (*small.convs, small.hidden, small.head)]
    assert dtypes == ["float32", "int4", "int8", "int4"]


def test_a_layer_in_two_places_stays_one():
    class Twice(nnx.Module):
        def __init__(self):
            self.first = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.again = nnx.List([self.first])

        def __call__(self, x):
            return self.again[0](self.first(x))

    small = quantize(Twice())
    assert small.first is small.again[0]
    assert small.first.kernel.dtype == jnp.int8


def test_the_module_given_stays_as_it_was():
    model = _mlp()
    before = jaxkd.from_nnx(model).fingerprint()
    quantize(model)
    fake_quantize(model)
    assert jaxkd.from_nnx(model).fingerprint() == before


def test_a_fresh_module_takes_saved_weights(tmp_path):
    arguments = {"weights": "int4", "rules": {"head": LayerPrecision("int8", None)}}
    small = quantize(_cnn(), ranges=calibrate(_cnn(), [IMAGES], min_examples=16), **arguments)
    network = jaxkd.from_nnx(small)
    jaxkd.weights.save(network, tmp_path / "small.npz")
    ranges = dict.fromkeys(("convs.0", "convs.1", "hidden"), 1.0)
    fresh = jaxkd.from_nnx(
        nnx.eval_shape(
            lambda: quantize(
                models.CNN((8, 8, 3), (4, 8), 16, 5, rngs=nnx.Rngs(9)), ranges=ranges, **arguments
            )
        )
    )
    loaded, _ = jaxkd.weights.load(fresh, tmp_path / "small.npz")
    assert loaded.fingerprint() == network.fingerprint()


def test_features_and_half_precision_and_export():
    model = _cnn()
    network = jaxkd.from_nnx(quantize(model), features={"first": "convs.0"}, dtype=jnp.bfloat16)
    outputs = network(IMAGES)
    assert outputs["first"].shape == (16, 8, 8, 4)
    assert outputs["logits"].dtype == jnp.bfloat16
    plain = jaxkd.from_nnx(quantize(model))
    (batch,) = jax.export.symbolic_shape("batch")
    exported = jax.export.export(jax.jit(lambda x: plain(x)["logits"]))(
        jax.ShapeDtypeStruct((batch, 8, 8, 3), jnp.float32)
    )
    np.testing.assert_allclose(exported.call(IMAGES), plain(IMAGES)["logits"], rtol=1e-5, atol=1e-6)


def test_static_ranges_cut_off_what_exceeds_them():
    layer = nnx.Linear(1, 1, use_bias=False, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
    inputs = jnp.array([[0.5], [1.0], [3.0]])
    static = quantize(layer, ranges={"": 1.0})
    np.testing.assert_allclose(static(inputs), [[0.5], [1.0], [1.0]], atol=0.01)
    np.testing.assert_allclose(quantize(layer)(inputs), inputs, atol=0.03)
    assert sorted(jaxkd.from_nnx(static).params) == ["input_range", "kernel", "kernel_scale"]
    # A layer whose calibration inputs are all zero returns zero.
    np.testing.assert_array_equal(quantize(layer, ranges={"": 0.0})(0 * inputs), 0 * inputs)


def test_static_ranges_do_not_depend_on_the_length_of_a_text():
    model = models.Encoder(32, 16, 1, 2, num_classes=5, rngs=nnx.Rngs(0))
    small = quantize(model, ranges=calibrate(model, [TOKENS], min_examples=8))
    assert _logits(small, TOKENS[:2, :3]).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "int5"}, "weights must be one of .*'int4'.* not 'int5'"),
        ({"activations": "int4"}, "activations must be None or one of .* not 'int4'"),
        ({"weights": "float8_e5m2"}, "float8_e5m2 cannot be multiplied with .* int8"),
        ({"rules": {"tail": None}}, r"\['tail'\] match .* no layer .*'head', 'hidden'"),
        ({"rules": {".*": None}}, "nothing to quantize"),
        ({"ranges": {"head": 1.0}}, "ranges are missing for .*'convs.0'"),
        (
            {"ranges": {"head": 1.0}, "activations": None},
            "no activations are quantized: leave ranges out",
        ),
        (
            {"ranges": {"x": 1.0}, "rules": {"[^h].*": None}},
            r"missing for \['head', 'hidden'\] and given for \['x'\]",
        ),
        (
            {"ranges": {"head": -1.0, "hidden": 1.0}, "rules": {"[^h].*": None}},
            "finite and >= 0, not {'head': -1.0}",
        ),
    ],
)
@pytest.mark.parametrize("function", [quantize, fake_quantize])
def test_what_does_not_fit_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(_cnn(), **arguments)


def test_masked_convolutions_and_modules_without_layers_are_refused():
    masked = nnx.Conv(1, 1, (3,), mask=jnp.ones((3, 1, 1)), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"with a mask cannot be quantized: \[''\]"):
        quantize(masked)
    with pytest.raises(ValueError, match="nothing to quantize"):
        quantize(nnx.LayerNorm(3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="MLP has no fake-quantized layer"):
        from_fake_quantized(_mlp())


def test_without_qwix_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "qwix", None)
    with pytest.raises(ImportError, match=r"jaxkd-distill\[quantization\]"):
        quantize(_mlp())


def test_linen_modules_quantized_by_qwix_are_networks():
    dense = nn.Dense(3)
    inputs = jax.random.normal(jax.random.key(0), (4, 5))
    variables = dense.init(jax.random.key(1), inputs)
    rule = qwix.QuantizationRule(weight_qtype=jnp.int8, act_qtype=jnp.int8)
    module = qwix.quantize_model(dense, qwix.PtqProvider([rule]))
    abstract = jax.eval_shape(module.init, jax.random.key(1), inputs)
    params = qwix.quantize_params(variables["params"], abstract["params"])
    network = jaxkd.from_linen(module, {"params": params})
    assert parameter_bytes(network.params) == 15 + 3 * 4 + 3 * 4
    np.testing.assert_allclose(network(inputs)["logits"], dense.apply(variables, inputs), atol=0.1)
