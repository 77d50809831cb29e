"""What the benchmarks of methods share: data, teacher, student and optimizer.

Fashion-MNIST at 14 × 14 pixels (means of 2 × 2), without augmentation. Students, ResNet-8 of half
the width, have the first 10,000 training images; settings are chosen on the last 5,000 training
images; the teacher, a ResNet-20, was trained on the 55,000 others of these. Everybody trains by SGD
with Nesterov momentum 0.9, weight decay 5e-4, batches of 64 and a cosine that warms up.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.datasets import fashion_mnist
from jaxkd import Network, models
from jaxkd.data import Dataset
from jaxkd.study import Study

TEACHER, STUDENT = "resnet20", "resnet8x0.5"
STUDENTS, VALIDATION = 10_000, 5_000
TEACHER_EPOCHS = 8
WEIGHT_DECAY = 5e-4


def load(data_dir: str | None, few: int = 0) -> dict[str, Dataset]:
    """Loads `train`, `validation`, `test` and `teacher`, the teacher's training images.

    Args:
      data_dir: folder of the prepared Fashion-MNIST; None for 3,000 images of noise with labels,
        for trying a script out.
      few: number of images of each part, 0 for all.
    """
    if data_dir is None:
        every, test = (mock(split, count) for split, count in (("train", 2000), ("test", 1000)))
    else:
        every, test = (
            _halved(fashion_mnist.load(split, data_dir=data_dir)) for split in ("train", "test")
        )
    held_out = min(VALIDATION, len(every) // 4)
    parts = {
        "train": every.select(every.ids[: min(STUDENTS, len(every) // 2)]),
        "validation": every.select(every.ids[-held_out:]),
        "test": test,
        "teacher": every.select(every.ids[:-held_out]),
    }
    return {name: part.select(part.ids[: few or len(part)]) for name, part in parts.items()}


def make(name: str, seed: int) -> Network:
    """Makes an untrained network for the images."""
    return jaxkd.from_nnx(models.create(name, num_classes=10, in_channels=1, rngs=nnx.Rngs(seed)))


make_student = functools.partial(make, STUDENT)


def make_optimizer(steps: int, rate: float) -> optax.GradientTransformation:
    """Makes the optimizer of all trainings."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 20), max(2, steps))
    return optax.chain(
        optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(schedule, momentum=0.9, nesterov=True)
    )


def options(**changes: Any) -> dict[str, Any]:
    """Returns the arguments of a `Study` that all of them have."""
    common = {"batch_size": 64, "learning_rate": 0.05, "make_optimizer": make_optimizer}
    return {**common, "evaluations": 2, "population": False, **changes}


def train_teacher(
    data: Mapping[str, Dataset], workdir: pathlib.Path, epochs: float
) -> tuple[Network, float]:
    """Trains the teacher, or reads it; returns it with its accuracy on the test images."""
    parts = {"train": data["teacher"], "validation": data["validation"], "test": data["test"]}
    study = Study(
        parts,
        functools.partial(make, TEACHER),
        arms=["labels"],
        seeds=1,
        epochs=epochs,
        workdir=workdir / "teacher",
        **options(),
    )
    results = study.run()
    return results.network(), float(results.values("labels", "test")[0])


def students_of(data: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Returns the parts that students know."""
    return {name: data[name] for name in ("train", "validation", "test")}


def _halved(part: Dataset) -> Dataset:
    """Returns the images at half their size, each pixel the mean of four."""
    images = np.asarray(part.inputs, np.float32)
    count, height, width, channels = images.shape
    small = images.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    return Dataset.from_arrays(
        np.round(small).astype(np.uint8),
        part.labels,
        ids=part.ids,
        name=f"{part.name}_halved",
        split=part.split,
        num_classes=10,
        class_names=part.class_names,
    )


def mock(split: str, count: int, size: int = 14) -> Dataset:
    """Makes images whose brightest row is their class, in noise."""
    random = np.random.default_rng(len(split))
    labels = random.integers(0, 10, count)
    images = random.integers(0, 120, (count, size, size, 1))
    images[np.arange(count), labels + 2] += 100
    return Dataset.from_arrays(
        images.astype(np.uint8), labels, name="rows", split=split, num_classes=10
    )
