"""The networks of the convolution benchmark, and what they are trained on."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.models import CNN, EfficientNet


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and the images that it is trained on.

    Attributes:
      name: of the network.
      make: makes the student, with its own dropout or without any.
      size: height and width of the images.
      channels: of the images.
      classes: number of logits.
    """

    name: str
    make: Callable[[bool], nnx.Module]
    size: int = 32
    channels: int = 3
    classes: int = 100

    def student(self, *, dropout: bool = True) -> jaxkd.Network:
        """A fresh student."""
        return jaxkd.from_nnx(self.make(dropout))

    def batch(self, size: int) -> dict[str, np.ndarray]:
        """Random images, labels, and a teacher's logits."""
        return random_batch(size, self.size, self.channels, self.classes)


def random_batch(count: int, size: int, channels: int, classes: int) -> dict[str, np.ndarray]:
    """Random images, labels and a teacher's logits; values make no difference to times."""
    generator = np.random.default_rng(0)
    return {
        "inputs": generator.standard_normal((count, size, size, channels), np.float32),
        "labels": generator.integers(0, classes, count),
        "teacher": generator.standard_normal((count, classes), np.float32),
    }


def _named(name: str, dropout: bool) -> nnx.Module:
    return models.create(name, num_classes=100, rngs=nnx.Rngs(0))


def _efficientnet(dropout: bool) -> nnx.Module:
    rates = {} if dropout else {"dropout_rate": 0.0, "stochastic_depth_rate": 0.0}
    return EfficientNet(3, 100, rngs=nnx.Rngs(0), **rates)


def _cnn(dropout: bool) -> nnx.Module:
    return CNN((28, 28, 1), (16, 32), 64, 10, rngs=nnx.Rngs(0))


CASES = (
    *(
        Case(name, functools.partial(_named, name))
        for name in (
            "resnet20",
            "resnet8x4",
            "wrn_16_2",
            "vgg8",
            "mobilenet_v2_cifar",
            "shufflenet_v1_cifar",
            "shufflenet_v2_cifar",
        )
    ),
    Case("efficientnet_b0", _efficientnet, size=64),
    # The teacher of the experiments with Fashion-MNIST.
    Case("cnn", _cnn, size=28, channels=1, classes=10),
)
