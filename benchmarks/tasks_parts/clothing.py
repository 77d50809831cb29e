"""Tasks on Fashion-MNIST: several labels of a scene, its label map, and the angle of an image."""

import dataclasses
import functools
from typing import Any

import numpy as np
from flax import nnx

import jaxkd
from benchmarks.tasks_parts import scenes
from benchmarks.tasks_parts.networks import Segmenter
from benchmarks.tasks_parts.task import Measure, Task, parts
from jaxkd import Objective, Term, Views, losses, metrics, recipes
from jaxkd.data import Dataset
from jaxkd.models import CNN, MLP
from jaxkd.targets import Dense
from jaxkd.views import Normalize, RandomFlip

_SCENE = (scenes.SIZE, scenes.SIZE, 1)
_PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Clothing:
    """Images of Fashion-MNIST.

    Attributes:
      train: its training images, of which training and validation examples are made.
      test: its test images.
    """

    train: Dataset
    test: Dataset

    def parts(self, counts: dict[str, int]) -> dict[str, Dataset]:
        """Returns images for each part, none of which is in two of them."""
        sizes = {name: counts[name] for name in _PARTS[:2]}
        rows = parts(len(self.train), sizes, 0)
        chosen = {name: self.train.select(self.train.ids[rows[name]]) for name in sizes}
        return chosen | {"test": self.test.select(self.test.ids[: counts["test"]])}


def multi_label(source: Clothing, *, scale: float = 1.0) -> Task:
    """Makes the task of naming all items of a scene.

    Args:
      source: the images.
      scale: share of the examples and steps, for trying it out.

    Returns:
      The task: 100 labeled scenes.
    """
    data = {
        name: _dataset(f"scenes_{name}", scene.images, scene.classes, scenes.NUM_CLASSES)
        for name, scene in _scenes(source, scale, train=8000).items()
    }

    def make_teacher(seed: int) -> jaxkd.Network:
        return jaxkd.from_nnx(CNN(_SCENE, (16, 32), 64, scenes.NUM_CLASSES, rngs=nnx.Rngs(seed)))

    def make_student(seed: int) -> jaxkd.Network:
        return jaxkd.from_nnx(MLP(1024, (64,), scenes.NUM_CLASSES, rngs=nnx.Rngs(seed)))

    return Task(
        name="Multi-label: scenes of clothing",
        description="Which of ten kinds of clothing are in a scene of one to three items",
        **data,
        few=data["train"].ids[: _scaled(300, scale)],
        make_teacher=make_teacher,
        make_student=make_student,
        labels=Objective(label=Term(losses.binary_cross_entropy)),
        distilled=lambda alpha: recipes.binary_kd(alpha=alpha, temperature=2.0),
        measures={
            "mean average precision": Measure(metrics.AveragePrecision()),
            "F1": Measure(metrics.BinaryF1()),
        },
        steps=_scaled(600, scale),
        teacher_steps=_scaled(600, scale),
    )


def segmentation(source: Clothing, *, scale: float = 1.0) -> Task:
    """Makes the task of naming the item at each pixel of a scene.

    Args:
      source: the images.
      scale: share of the examples and steps, for trying it out.

    Returns:
      The task: 30 scenes with label maps, seen as they are and mirrored.
    """
    classes = scenes.NUM_CLASSES + 1
    data = {
        name: _dataset(f"maps_{name}", scene.images, scene.maps, classes)
        for name, scene in _scenes(source, scale, train=2000).items()
    }

    def make_network(width: int, seed: int) -> jaxkd.Network:
        return jaxkd.from_nnx(Segmenter(width, classes, rngs=nnx.Rngs(seed)))

    return Task(
        name="Segmentation: scenes of clothing",
        description="Which kind of clothing, or none, is at each pixel of a scene",
        **data,
        few=data["train"].ids[: _scaled(50, scale)],
        make_teacher=functools.partial(make_network, 24),
        make_student=functools.partial(make_network, 6),
        labels=recipes.labels(),
        distilled=lambda alpha: recipes.kd(alpha=alpha, temperature=2.0),
        measures={
            "mean IoU": Measure(metrics.MeanIoU()),
            "accuracy of pixels": Measure(metrics.Accuracy()),
        },
        steps=_scaled(400, scale),
        teacher_steps=_scaled(500, scale),
        rates=(1e-2,),
        views=Views((RandomFlip(), Normalize()), maps=("labels",)),
        num_views=2,
        codec=Dense("float16"),
        batch_size=32,
    )


@dataclasses.dataclass(frozen=True)
class Degrees:
    """Mean absolute error of an angle in degrees, of labels that are shares of the largest one.

    Attributes:
      shares: the metric of the shares.
    """

    shares: metrics.Metric = metrics.MeanAbsoluteError(output="mean")

    def __call__(self, outputs: Any, batch: Any) -> Any:
        """Returns the sums of the metric of the shares."""
        return self.shares(outputs, batch)

    def compute(self, sums: Any) -> float:
        """Returns the mean in degrees."""
        return scenes.LARGEST_ANGLE * self.shares.compute(sums)


def regression(source: Clothing, *, scale: float = 1.0) -> Task:
    """Makes the task of telling by what angle an image is turned, and how sure that is.

    Args:
      source: the images.
      scale: share of the examples and steps, for trying it out.

    Returns:
      The task: 100 images with known angles.
    """
    counts = _counts(scale, train=8000)
    data = {
        name: _dataset(f"turned_{name}", *scenes.turned(images, seed), None)
        for seed, (name, images) in enumerate(source.parts(counts).items())
    }

    def make_teacher(seed: int) -> jaxkd.Network:
        cnn = CNN((28, 28, 1), (16, 32), 64, 2, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(cnn, outputs=_gaussian)

    def make_student(seed: int) -> jaxkd.Network:
        return jaxkd.from_nnx(MLP(784, (64,), 2, rngs=nnx.Rngs(seed)), outputs=_gaussian)

    return Task(
        name="Regression: angle of clothing",
        description="By how many degrees an image is turned, with a variance of its own",
        **data,
        few=data["train"].ids[: _scaled(300, scale)],
        make_teacher=make_teacher,
        make_student=make_student,
        labels=Objective(label=Term(losses.gaussian_nll, student=("mean", "log_variance"))),
        distilled=lambda alpha: recipes.gaussian_kd(alpha=alpha),
        measures={
            "error in degrees": Measure(Degrees(), "decimal", "difference", lower_is_better=True),
            "R²": Measure(metrics.R2(output="mean")),
        },
        steps=_scaled(600, scale),
        teacher_steps=_scaled(600, scale),
        codec={name: Dense("float32") for name in ("mean", "log_variance")},
    )


def _gaussian(result: Any) -> dict[str, Any]:
    values, _ = result
    return {"mean": values[:, 0], "log_variance": values[:, 1]}


def _counts(scale: float, train: int) -> dict[str, int]:
    counts = {"train": train, "validation": 500, "test": 2000}
    return {name: _scaled(count, scale) for name, count in counts.items()}


def _scaled(count: int, scale: float) -> int:
    return max(2, round(count * scale))


def _scenes(source: Clothing, scale: float, train: int) -> dict[str, scenes.Scenes]:
    counts = _counts(scale, train)
    images = source.parts({"train": _scaled(20_000, scale), **{n: counts[n] for n in _PARTS[1:]}})
    return {
        name: scenes.compose(images[name], counts[name], seed) for seed, name in enumerate(images)
    }


def _dataset(name: str, inputs: np.ndarray, labels: np.ndarray, num_classes: int | None) -> Dataset:
    split = name.rpartition("_")[2]
    return Dataset.from_arrays(inputs, labels, name=name, split=split, num_classes=num_classes)
