"""How large everything is on a GPU, and for the tests; the students by name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.data import Dataset


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of all parts; the defaults fit one GPU of 80 GB and nine minutes.

    Attributes:
      students: names of networks, as `make_module` takes them.
      compared: those that are compared with their twins in PyTorch.
      image_size: height and width of their images.
      classes: of their logits.
      batch_size: images in a step.
      steps: that are timed as one.
      pairs: of timings side by side, at most; fewer when a part's time runs out.
      tokens: of the fused losses, a multiple of 4.
      width: of the student's hidden states.
      teacher_width: of the teacher's.
      vocabulary: columns of the heads.
      targets: teachers of `kd`, as `benchmarks.fused` names them.
      members: of the population.
      population_students: names of functions of `benchmarks.population`.
      population_steps: that are timed as one.
      decoder: width, layers, heads, heads of keys and values, vocabulary.
      prompt: tokens of a prompt.
      new_tokens: that are written behind it.
      rows: batches of prompts.
      teacher: name of the network whose cache is built, or `"linear"` for `linear_teacher`.
      cached: examples of that cache, a multiple of `cache_batch`.
      cache_batch: images in a forward pass of the teacher.
      guarded: steps under the transfer guard.
    """

    students: tuple[str, ...] = ("resnet50", "vit_small_patch16")
    compared: tuple[str, ...] = ("resnet50", "vit_small_patch16")
    image_size: int = 224
    classes: int = 1000
    batch_size: int = 128
    steps: int = 8
    pairs: int = 12
    tokens: int = 8_192
    width: int = 2_048
    teacher_width: int = 4_096
    vocabulary: int = 128_256
    targets: tuple[str, ...] = ("dense", "top-64")
    members: int = 16
    population_students: tuple[str, ...] = ("perceptron", "convnet")
    population_steps: int = 50
    decoder: tuple[int, int, int, int, int] = (1_024, 12, 16, 4, 32_000)
    prompt: int = 128
    new_tokens: int = 128
    rows: tuple[int, ...] = (1, 32)
    teacher: str = "resnet50"
    cached: int = 8_448
    cache_batch: int = 256
    guarded: int = 30


FULL = Sizes()
TINY = Sizes(
    students=("mlp",),
    compared=("vit",),
    image_size=16,
    classes=10,
    batch_size=4,
    steps=2,
    pairs=3,
    tokens=32,
    width=8,
    teacher_width=12,
    vocabulary=96,
    targets=("top-64",),
    members=2,
    population_students=("perceptron",),
    population_steps=2,
    decoder=(16, 1, 2, 1, 32),
    prompt=4,
    new_tokens=4,
    rows=(2,),
    teacher="linear",
    cached=64,
    cache_batch=16,
    guarded=3,
)


def make_module(name: str, sizes: Sizes) -> nnx.Module:
    """A network of `jaxkd.models` by name; `"mlp"` and `"vit"` are small ones for the tests."""
    size, classes = sizes.image_size, sizes.classes
    # Initial weights are sampled shape by shape, each by a program that a CPU compiles faster.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        rngs = nnx.Rngs(0)
        if name == "mlp":
            return models.MLP(3 * size**2, (8,), classes, rngs=rngs)
        if name == "vit":
            return models.VisionTransformer(8, 8, 4, 2, 3, classes, image_size=size, rngs=rngs)
        return models.create(name, num_classes=classes, image_size=size, rngs=rngs)


def make_student(name: str, sizes: Sizes) -> jaxkd.Network:
    """The same, computing in bfloat16, with its variables on the default device."""
    network = jaxkd.from_nnx(make_module(name, sizes), dtype=jnp.bfloat16)
    # By way of NumPy, since arrays that `device_put` places on a given device are committed:
    # a
    # state with some of these compiles once more for the second step, when all of it is.
    params, state = jax.tree.map(
        lambda x: jnp.asarray(np.asarray(x)), (network.params, network.state)
    )
    return network.replace(params=params, state=state)


def make_images(sizes: Sizes, examples: int) -> Dataset:
    """Random images of bytes, with labels."""
    generator = np.random.default_rng(0)
    shape = (examples, sizes.image_size, sizes.image_size, 3)
    return Dataset.from_arrays(
        generator.integers(0, 256, shape, np.uint8),
        generator.integers(0, sizes.classes, examples),
        name="random",
        split="train",
        num_classes=sizes.classes,
    )


def linear_teacher(sizes: Sizes) -> jaxkd.Network:
    """A linear map of the mean pixel: a cache of it is built in no time and read like any other."""
    weights = jax.random.normal(jax.random.key(1), (3, sizes.classes))
    return jaxkd.from_function(lambda params, x: x.mean((1, 2)) @ params, weights)
