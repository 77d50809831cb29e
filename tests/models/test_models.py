import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import count_parameters
from jaxkd.models._layers import group_norm

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(4, 28, 28, 1)), jnp.float32)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda r: models.MLP(784, (128,), 10, rngs=r), 101_770),
        (lambda r: models.CNN((28, 28, 1), (16, 32), 64, 10, rngs=r), 105_866),
        # With projection shortcuts: 272,474 on RGB, less two channels of the 3×3×16 stem.
        (lambda r: models.ResNet(20, 1, 10, rngs=r), 272_474 - 2 * 3 * 3 * 16),
    ],
)
def test_parameters_and_shapes(make, parameters):
    network = jaxkd.from_nnx(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    assert count_parameters(network.params) == parameters

    def trained(params, state, key):
        return network.apply(params, state, IMAGES, train=True, key=key)[0]

    outputs = jax.eval_shape(trained, network.params, network.state, jax.random.key(0))
    assert outputs["logits"].shape == (4, 10)


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda r: models.ResNet(8, 1, 10, rngs=r), [(28, 16), (14, 32), (7, 64)]),
        (lambda r: models.CNN((28, 28, 1), (16, 32), 64, 10, rngs=r), [(28, 16), (14, 32)]),
        (lambda r: models.ConvNet(1, 10, rngs=r), [(14, 8), (7, 16), (7, 32)]),
    ],
)
def test_stages_are_features(make, shapes):
    outputs = jaxkd.from_nnx(make(nnx.Rngs(0)))(IMAGES)
    for number, (size, width) in enumerate(shapes, 1):
        assert outputs[f"stage{number}"].shape == (4, size, size, width)
        np.testing.assert_array_equal(
            outputs[f"stage{number}"], jnp.maximum(outputs[f"preact{number}"], 0)
        )
        assert outputs[f"preact{number}"].min() < 0
    assert outputs["embedding"].ndim == 2


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="6n \\+ 2 .* not 21"):
        models.ResNet(21, 1, 10, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="3 widths need as many strides, not 2"):
        models.ConvNet(1, 10, strides=(2, 2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="5 poolings"):
        models.CNN((28, 28, 1), (4,) * 5, 8, 10, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", ["mlp", "cnn", "convnet"])
def test_small_networks_are_made_by_name(name):
    def make():
        return models.create(name, num_classes=7, in_channels=1, image_size=28, rngs=nnx.Rngs(0))

    network = jaxkd.from_nnx(nnx.eval_shape(make), dtype=jnp.bfloat16)
    outputs, _ = jax.eval_shape(network.apply, network.params, network.state, IMAGES)
    assert outputs["logits"].shape == (4, 7)
    assert {value.dtype for value in outputs.values()} == {jnp.dtype(jnp.bfloat16)}
    if name != "convnet":
        with pytest.raises(ValueError, match=f"{name} can have the norms"):
            models.create(name, norm="group", rngs=nnx.Rngs(0))


def test_convnet_with_group_norm_keeps_no_statistics():
    network = jaxkd.from_nnx(models.ConvNet(1, 10, norm=group_norm, rngs=nnx.Rngs(0)))
    assert not network.state
    run = jax.jit(network)
    alone = run(IMAGES[:1])["logits"]
    np.testing.assert_allclose(run(IMAGES)["logits"][:1], alone, rtol=1e-4, atol=1e-5)


def test_images_of_another_size_are_refused():
    wide = jax.ShapeDtypeStruct((4, 32, 32, 1), jnp.float32)
    for make, message in (
        (lambda r: models.MLP(784, (8,), 10, rngs=r), "784 numbers .* not for \\(4, 32, 32, 1"),
        (lambda r: models.CNN((28, 28, 1), (4,), 8, 10, rngs=r), "\\(28, 28, 1\\), not for \\(4"),
        (lambda r: models.ConvNet(3, 10, rngs=r), "3\\], not \\(4, 32, 32, 1"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda x, make=make: make(nnx.Rngs(0))(x), wide)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda r: models.CNN(28, (4,), 8, 10, rngs=r), TypeError, "image_shape is .*, not 28"),
        (
            lambda r: models.CNN((28, 28), (4,), 8, 10, rngs=r),
            ValueError,
            r"image_shape is \(height, width, channels\), each at least 1, not \(28, 28\)",
        ),
        (lambda r: models.CNN((8, 8, 0), (4,), 8, 10, rngs=r), ValueError, "not .8, 8, 0."),
        (lambda r: models.CNN((8.0, 8, 1), (4,), 8, 10, rngs=r), TypeError, "image_shape is"),
        (lambda r: models.CNN((8, 8, 1), 4, 8, 10, rngs=r), TypeError, r"channels is .*16, 32.*4"),
        (lambda r: models.MLP(4, 32, 10, rngs=r), TypeError, r"hidden is a sequence .*, not 32"),
    ],
)
def test_sizes_of_another_kind_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(nnx.Rngs(0))
    assert models.CNN([np.int64(8), 8, 1], [4], 8, 10, rngs=nnx.Rngs(0)).image_shape == (8, 8, 1)
