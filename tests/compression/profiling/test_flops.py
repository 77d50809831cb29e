"""FLOPs of whole networks against counts by hand: within 1 %, mostly exact."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import flops


def same(size):
    """Taps of a 3×3 convolution along an axis that fall on the image, not on its padding."""
    return 3 * size - 2


def mlp():
    return 2 * 784 * 128 + 2 * 128 + 2 * 128 * 10 + 10  # products; bias and ReLU


def cnn():
    total = 0
    for size, before, after in ((28, 1, 16), (14, 16, 32)):
        total += 2 * same(size) ** 2 * before * after + 2 * size**2 * after  # bias and ReLU
        total += 3 * (size // 2) ** 2 * after  # the largest of four
    return total + 2 * 7 * 7 * 32 * 64 + 2 * 64 + 2 * 64 * 10 + 10


def resnet20():
    def normed(size, channels):
        return 3 * size**2 * channels  # mean, scale, bias

    total = 2 * same(32) ** 2 * 3 * 16 + normed(32, 16) + 32**2 * 16
    before = 16
    for size, channels in ((32, 16), (16, 32), (8, 64)):
        maps = size**2 * channels
        for block in range(3):
            narrower = block == 0 and size < 32
            taps = 3 * size - 1 if narrower else same(size)  # of stride 2
            total += 2 * taps**2 * (before if block == 0 else channels) * channels
            total += 2 * same(size) ** 2 * channels**2
            total += 2 * normed(size, channels) + 3 * maps  # two ReLU, one sum
            if narrower:
                total += 2 * size**2 * before * channels + normed(size, channels)
        before = channels
    return total + 8 * 8 * 64 + 2 * 64 * 100 + 100


@pytest.mark.parametrize(
    ("make", "shape", "by_hand"),
    [
        (lambda rngs: models.MLP(784, (128,), 10, rngs=rngs), (28, 28, 1), mlp),
        (lambda rngs: models.CNN((28, 28, 1), (16, 32), 64, 10, rngs=rngs), (28, 28, 1), cnn),
        (lambda rngs: models.create("resnet20", num_classes=100, rngs=rngs), (32, 32, 3), resnet20),
    ],
    ids=["mlp", "cnn", "resnet20"],
)
def test_networks_cost_what_is_counted_by_hand(make, shape, by_hand):
    network = jaxkd.from_nnx(make(nnx.Rngs(0)))
    counted = flops(network, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    assert abs(counted / by_hand() - 1) < 0.01
