"""Data, views, networks and caches that the attacks start from: tiny, so that many are tried."""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from benchmarks.contract_attacks_parts.attempts import Attempt, Folder
from jaxkd import Objective, Term, Views, losses, networks
from jaxkd import cache as caches
from jaxkd.data import Dataset, Loader
from jaxkd.training import fit
from jaxkd.views import Normalize, RandomCrop

EXAMPLES, CLASSES, SIDE = 96, 4, 6
WIDTH = SIDE * SIDE
NAMES = ("ant", "bee", "cat", "dog")
VIEWS = Views((RandomCrop(1), Normalize()))
# Not as a module is made: attacks change what a teacher finds in a module's globals.
WEIGHTS = np.random.default_rng(3).normal(size=(WIDTH, CLASSES)).astype(np.float32)
SIZES = {"num_views": 2, "block_size": 24, "progress": False}


@functools.cache
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, SIDE, SIDE, 1)).astype(np.uint8)
    return images, rng.integers(0, CLASSES, EXAMPLES)


def dataset(inputs: Any = None, labels: Any = None, **changes: Any) -> Dataset:
    """The data set; with other inputs, labels or facts, another one."""
    images, classes = arrays()
    facts = {"name": "shapes", "split": "train", "num_classes": CLASSES, "class_names": NAMES}
    return Dataset.from_arrays(
        images if inputs is None else inputs,
        classes if labels is None else labels,
        **{**facts, **changes},
    )


def flat(inputs: Any) -> Any:
    """Rows of pixels."""
    return inputs.reshape(len(inputs), -1)


def teacher(scale: float = 1.0) -> networks.Network:
    """The teacher; with another scale, another one."""
    return jaxkd.from_function(_linear, jnp.asarray(WEIGHTS * scale))


def _linear(params: Any, inputs: Any) -> Any:
    return flat(inputs) @ params


def build(path: Any, network: Any, data: Any = None, views: Views = VIEWS, **options: Any) -> Any:
    """Builds a cache of the usual sizes."""
    return caches.build(path, network, data or dataset(), views, **{**SIZES, **options})


def home(folder: Folder) -> pathlib.Path:
    """The cache that most attacks start from."""
    return folder.built("home", lambda path: build(path, teacher()))


def opened(path: Any, network: Any = None, data: Any = None, views: Views = VIEWS, **more: Any):
    """Opens a cache for a teacher, data and views."""
    network = teacher() if network is None else network
    return caches.open(path, teacher=network, dataset=data or dataset(), views=views, **more)


def everywhere(
    folder: Folder,
    path: pathlib.Path,
    network: Any,
    data: Any = None,
    views: Views = VIEWS,
    *,
    allow: Any = (),
    **options: Any,
) -> Iterator[Attempt]:
    """The wrong thing through every entrance of a cache, each on a copy where it might write."""
    data = data or dataset()
    given = {"teacher": network, "dataset": data, "views": views, "allow": allow}
    sizes = {**SIZES, **options, "allow": allow}
    filled = {name: value for name, value in sizes.items() if name not in ("progress", "allow")}

    def fill() -> None:
        with caches.open(folder.copy(path), mode="fill", **given, **filled) as cache:
            cache.read(data.ids[:8], 1)

    def extend() -> None:
        more = {"num_views": 3, "progress": False, "allow": allow}
        caches.extend(folder.copy(path), network, data, views, **more)

    yield "open", lambda: caches.open(path, **given)
    yield "build", lambda: caches.build(folder.copy(path), network, data, views, **sizes)
    yield "extend", extend
    yield "fill", fill
    yield "check", lambda: caches.Cache(path).check(**given)


def student(classes: int = CLASSES) -> networks.Network:
    """A student of zeros."""
    return jaxkd.from_function(_linear, jnp.zeros((WIDTH, classes)))


def train(
    loader: Loader,
    *,
    network: Any = None,
    objective: Any = None,
    optimizer: Any = None,
    views: Views | None = VIEWS,
    online: Any = None,
    steps: int = 2,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Trains a student for a few steps."""
    objective = objective or Objective(kd=Term(losses.kd))
    step = jaxkd.make_train_step(
        network or student(), objective, optimizer or optax.sgd(0.1), views=views, teacher=online
    )
    options = {"progress": None, "tensorboard": False, "log_every": steps, **options}
    return fit(step, step.init(seed), loader, steps=steps, **options)
