"""Images from noise: a small generator, and the data set of noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.data import Dataset
from jaxkd.ops import conv_general_dilated
from jaxkd.views import Views


class ImageGenerator(nnx.Module):
    """Maps noise `[batch, latent]` to images `[batch, height, width, channels]`.

    A dense layer makes maps of a quarter of the size; two blocks double them by nearest neighbors,
    each with a 3×3 convolution, batch normalization and leaky ReLU; a last convolution, tanh and
    batch normalization make images whose channels have the given mean and standard deviation.

    Args:
      latent: number of noise values of an image.
      image_shape: `(height, width, channels)` of the teacher's inputs.
      width: number of channels of the first block; the second has half of them.
      mean: mean of the images, in the scale that the teacher sees: 0 for normalized ones.
      std: standard deviation of the images: 1 for normalized ones.
      rngs: random streams of the initial weights.

    Raises:
      ValueError: sizes that are not positive.

    Example:
      >>> ImageGenerator(16, (28, 28, 1), width=8, rngs=nnx.Rngs(0))(jnp.ones((2, 16))).shape
      (2, 28, 28, 1)

    Reference:
      Chen et al., Data-Free Learning of Student Networks, ICCV 2019, whose generator has this form.
    """

    def __init__(
        self,
        latent: int,
        image_shape: tuple[int, int, int],
        *,
        width: int = 64,
        mean: float = 0.0,
        std: float = 1.0,
        rngs: nnx.Rngs,
    ):
        if min(latent, width // 2, *image_shape) < 1 or len(image_shape) != 3:
            raise ValueError(
                "a generator needs positive sizes, two channels of width and images of (height, "
                f"width, channels): got latent={latent}, width={width}, image_shape={image_shape}"
            )
        self.image_shape, self.mean, self.std = tuple(image_shape), mean, std
        self.start = (-(-image_shape[0] // 4), -(-image_shape[1] // 4), width)
        self.dense = nnx.Linear(latent, int(np.prod(self.start)), rngs=rngs)
        depths = (width, width, width // 2)
        self.convs = nnx.List(
            nnx.Conv(a, b, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs)
            for a, b in zip(depths, depths[1:], strict=False)
        )
        self.norms = nnx.List(nnx.BatchNorm(depth, momentum=0.9, rngs=rngs) for depth in depths)
        channels = image_shape[2]
        self.last = nnx.Conv(
            depths[-1], channels, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs
        )
        self.scale = nnx.BatchNorm(
            channels, momentum=0.9, use_scale=False, use_bias=False, rngs=rngs
        )

    def __call__(self, noise: jax.Array) -> jax.Array:
        """Returns the images of noise `[batch, latent]`."""
        x = self.norms[0](self.dense(noise).reshape(-1, *self.start))
        for conv, norm in zip(self.convs, list(self.norms)[1:], strict=True):
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = nnx.leaky_relu(norm(conv(x)), 0.2)
        images = self.mean + self.std * self.scale(jnp.tanh(self.last(x)))
        return images[:, : self.image_shape[0], : self.image_shape[1]]


@dataclasses.dataclass(frozen=True)
class NormalNoise:
    """Replaces an example by normal noise `[size]`, a function of its id and view alone.

    Attributes:
      size: number of noise values of an example.

    Example:
      >>> noise = NormalNoise(16)
      >>> noise(jax.random.key(0), jnp.zeros(1)).shape
      (16,)
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"noise needs at least 1 number, not {self.size}")

    def __call__(self, key: jax.Array, example: jax.Array) -> jax.Array:
        """Returns the noise of one example."""
        del example
        return jax.random.normal(key, (self.size,))


def noise_dataset(examples: int, latent: int, *, seed: int = 0) -> tuple[Dataset, Views]:
    """Makes a data set of nothing but ids, and the views that make noise of them.

    Args:
      examples: number of examples of an epoch; every epoch has new noise, as it has a new view.
      latent: number of noise values of an image.
      seed: seed of the noise.

    Returns:
      `(dataset, views)`, for `Loader` and `make_train_step`. Nothing is labeled.

    Raises:
      ValueError: fewer than one example or number.

    Example:
      >>> from jaxkd.data import Loader
      >>> data, seen = noise_dataset(100, 16)
      >>> seen.render(Loader(data, seen, 10)[0])["inputs"].shape
      (10, 16)
    """
    if examples < 1:
        raise ValueError(f"an epoch needs at least 1 example, not {examples}")
    data = Dataset.from_arrays(
        np.zeros((examples, 1), np.uint8), name="noise", split="train", num_classes=1
    )
    return data, Views((NormalNoise(latent),), seed=seed)
