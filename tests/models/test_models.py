import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import count_parameters

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
    network = jaxkd.from_nnx(make(nnx.Rngs(0)))
    assert count_parameters(network.params) == parameters
    outputs, _ = network.apply(
        network.params, network.state, IMAGES, train=True, key=jax.random.key(0)
    )
    assert outputs["logits"].shape == (4, 10)


def test_max_pool_is_the_windowed_maximum_with_its_gradient():
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 7, 6, 3)), jnp.float32)

    def windowed(x):
        return nnx.max_pool(x, (2, 2), strides=(2, 2))

    np.testing.assert_array_equal(models.max_pool(images), windowed(images))
    gradients = [
        jax.grad(lambda x, f=f: jnp.square(f(x)).sum())(images) for f in (models.max_pool, windowed)
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-6)


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
