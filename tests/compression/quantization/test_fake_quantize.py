import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import losses, models
from jaxkd.compression import calibrate, fake_quantize, from_fake_quantized, quantize

pytest.importorskip("qwix")

IMAGES = jax.random.normal(jax.random.key(0), (16, 8, 8, 3))


@functools.cache  # Nothing changes a module that it is given.
def _cnn():
    return nnx.jit(lambda: models.CNN((8, 8, 3), (4, 8), 16, 5, rngs=nnx.Rngs(0)))()


def _logits(model, inputs):
    network = jaxkd.from_nnx(model)
    return jax.jit(network.apply)(network.params, network.state, inputs)[0]["logits"]


@few(
    ("weights", "static"),
    [("int8", False), ("int4", True), ("int8", True), ("int4", False)],
    keep=2,
    ids=["int8, dynamic", "int4, static", "int8, static", "int4, dynamic"],
)
def test_training_with_a_teacher_lowers_the_loss_and_deploys(static, weights):
    model = _cnn()
    start = nnx.jit(lambda: models.CNN((8, 8, 3), (4, 8), 16, 5, rngs=nnx.Rngs(1)))()
    ranges = calibrate(start, [IMAGES], min_examples=16) if static else None
    fake = fake_quantize(start, weights=weights, ranges=ranges)
    teacher, student = jaxkd.from_nnx(model), jaxkd.from_nnx(fake)
    before = teacher.fingerprint()
    objective = jaxkd.Objective(kd=jaxkd.Term(losses.kd, temperature=2.0))
    adam = optax.adam(3e-3)
    step = jaxkd.make_train_step(student, objective, adam, teacher=teacher)
    state = step.init()
    batch = {
        "id": jnp.arange(16),
        "view": jnp.zeros(16, int),
        "labels": jnp.zeros(16, int),
        "inputs": IMAGES,
    }
    history = []
    for _ in range(12):
        state, metrics = step(state, batch)
        history.append(float(metrics["loss"]))
    assert np.all(np.isfinite(history))
    assert history[-1] < 0.7 * history[0]
    assert teacher.fingerprint() == before
    trained = state.network(student)
    if static:
        assert trained.state["head.input_range"] != ranges["head"]
    fake = jaxkd.networks.to_nnx(trained, fake)
    deployed = from_fake_quantized(fake)
    assert deployed.head.kernel.dtype == jnp.dtype(weights)
    wanted, got = _logits(fake, IMAGES), _logits(deployed, IMAGES)
    np.testing.assert_array_equal(jnp.argmax(wanted, -1), jnp.argmax(got, -1))
    np.testing.assert_allclose(got, wanted, atol=0.02 * float(jnp.max(jnp.abs(wanted))))
    assert not jaxkd.from_nnx(deployed).state


def test_one_layer_computes_the_same_fake_and_quantized():
    layer = nnx.Conv(3, 4, (3, 3), strides=2, rngs=nnx.Rngs(0))
    for ranges in (None, {"": 1.5}):
        fake = fake_quantize(layer, ranges=ranges)
        fake.eval()
        np.testing.assert_allclose(
            fake(IMAGES), quantize(layer, ranges=ranges)(IMAGES), rtol=1e-4, atol=1e-5
        )


def test_gradients_go_straight_through_but_not_beyond_the_range():
    layer = nnx.Linear(2, 1, use_bias=False, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
    fake = fake_quantize(layer, ranges={"": 1.0})
    fake.eval()
    inputs = jnp.array([[0.3, 5.0]])
    gradient = jax.grad(lambda x: fake(x)[0, 0])(inputs)
    np.testing.assert_allclose(gradient, [[1.0, 0.0]], atol=0.01)
    network = jaxkd.from_nnx(fake)
    gradient = jax.grad(lambda p: network.apply(p, network.state, inputs)[0]["logits"].sum())(
        network.params
    )["kernel"]
    np.testing.assert_allclose(gradient, [[0.3], [1.0]], atol=0.01)


def test_ranges_follow_the_batches_in_training_only():
    fake = fake_quantize(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), ranges={"": 1.0})
    network = jaxkd.from_nnx(fake)
    inputs = jnp.array([[3.0], [-2.0]])
    _, state = network.apply(network.params, network.state, inputs, train=True)
    np.testing.assert_allclose(state["input_range"], 0.99 + 0.03, rtol=1e-6)
    _, state = network.apply(network.params, network.state, inputs)
    assert state["input_range"] == 1.0


def test_ranges_follow_the_percentile_that_they_were_calibrated_with():
    layer = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    inputs = jnp.ones((128, 1)).at[0].set(100.0)
    ranges = calibrate(layer, [inputs], percentile=99.0)
    network = jaxkd.from_nnx(fake_quantize(layer, ranges=ranges, percentile=99.0))
    _, state = network.apply(network.params, network.state, 2 * inputs, train=True)
    np.testing.assert_allclose(state["input_range"], 0.99 + 0.01 * 2, rtol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_in_half_precision_the_deployed_kernel_is_the_one_that_was_trained(dtype, bias):
    options = {"use_bias": bias, "dtype": dtype, "rngs": nnx.Rngs(0)}
    fake = fake_quantize(nnx.Linear(64, 32, **options), weights="int4", activations=None)
    deployed = from_fake_quantized(fake)
    inputs = jnp.eye(64, dtype=jnp.bfloat16)
    wanted, got = fake(inputs), deployed(inputs)
    assert wanted.dtype == got.dtype == (jnp.bfloat16 if dtype else jnp.float32)
    # Each output is one number of the kernel: half precision suffices to determine its integer.
    scale = deployed.kernel_scale[...]
    for outputs in (wanted, got):
        integers = jnp.round(outputs.astype(jnp.float32) / scale)
        np.testing.assert_array_equal(integers, deployed.kernel[...].astype(jnp.float32))
    gradient = jax.grad(lambda kernel: _with_kernel(fake, kernel)(inputs).sum())(fake.kernel[...])
    np.testing.assert_array_equal(gradient, jnp.ones((64, 32)))


def _with_kernel(layer, kernel):
    layer = nnx.clone(layer)
    layer.kernel = nnx.Param(kernel)
    return layer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"percentile": 99.0}, "percentile=99.0 says how ranges follow .* give ranges="),
        ({"percentile": 0.0, "ranges": {"": 1.0}}, "percentile must be above 0 .* not 0.0"),
    ],
)
def test_percentiles_that_say_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fake_quantize(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), **arguments)
