"""Cached against online outputs, and what a row of the table is made of."""

import dataclasses
import importlib.metadata
import inspect
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from jaxkd import cache, recipes, targets
from jaxkd.data import Dataset, Loader
from jaxkd.training import fit

# The user's part of a case lies between these two lines of its source.
BEGIN, END = "# What one writes:", "# To here."
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(8, 6)).astype(np.float32)
IMAGES = RNG.uniform(size=(8, 8, 8, 3)).astype(np.float32)
PIXELS = (255 * IMAGES).astype(np.uint8)
LABELS = (np.arange(8) % 3).astype(np.int32)
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Compared:
    """Largest differences of a case.

    Attributes:
      online: of the outputs from a cache to those that are computed online, or of a student's
        parameters after training by either.
      own: of the outputs online to those of the other library's own call; None where there is no
        such call.
    """

    online: float
    own: float | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of the table.

    Attributes:
      name: what it shows.
      packages: names of the distributions that it needs.
      run: function that runs it.
      lines: number of lines that the user writes.
    """

    name: str
    packages: tuple[str, ...]
    run: Callable[[], Compared]
    lines: int

    @classmethod
    def of(cls, name: str, run: Callable[[], Compared], *packages: str) -> "Case":
        """Makes a case whose lines are those between the marks in its source."""
        source = [line.strip() for line in inspect.getsource(run).splitlines()]
        written = source[source.index(BEGIN) + 1 : source.index(END)]
        return cls(name, packages, run, sum(bool(line) for line in written))


def versions(packages: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns packages with their versions, and the names of those that are absent."""
    found, absent = [], []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(package)
    return found, absent


def largest(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Returns the largest difference of arrays of the same names."""
    assert set(one) == set(other), (set(one), set(other))
    return max(float(np.abs(np.asarray(one[n]) - np.asarray(other[n])).max()) for n in one)


def as_teacher(teacher: Any, inputs: Any, own: Any = None, data: Any = None) -> Compared:
    """Builds a cache of a teacher's outputs, and compares it with the teacher itself.

    Args:
      teacher: a network, or a teacher outside of JAX.
      inputs: what it is called with.
      own: logits of its own library for the same inputs.
      data: data set whose inputs these are; None for one of them.

    Returns:
      The differences.
    """
    data = data or Dataset.from_arrays(inputs, LABELS, name="o", split="train", num_classes=3)
    is_network = isinstance(teacher, jaxkd.Network)
    online = jax.jit(teacher)(inputs) if is_network else teacher(inputs)
    codec = dict.fromkeys(online, targets.Dense())
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/cache"
        stored = cache.build(path, teacher, data, codec=codec, batch_size=4, progress=False)
        decoded = stored.read(data.ids, view=0).decode()
    logits = {"logits": online["logits"]} if own is not None else {}
    return Compared(
        largest(decoded, online), None if own is None else largest(logits, {"logits": own})
    )


def as_views(views: jaxkd.Views) -> Compared:
    """Builds a cache of two views of each image, and compares a loader's batches with it."""
    data = Dataset.from_arrays(PIXELS, LABELS, name="o", split="train", num_classes=3)
    network = linear(192)
    with tempfile.TemporaryDirectory() as folder:
        options = {"num_views": 2, "batch_size": 4, "progress": False}
        stored = cache.build(f"{folder}/cache", network, data, views, **options)
        loader = Loader(data, views, 4, cache=stored)
        differences = []
        for step in range(4):
            batch = loader[step]
            kept = batch.pop("teacher").decode()
            inputs = jax.jit(views.render)(batch)["inputs"]
            differences.append(largest(kept, jax.jit(network)(inputs)))
    return Compared(max(differences))


def as_batches(online: Any, cached: Callable[[Any], Any], teacher: jaxkd.Network) -> Compared:
    """Trains a student on batches with cached outputs and on those with the teacher beside it.

    Args:
      online: batches without the teacher's outputs.
      cached: function from an opened cache of `rows` to the batches with them.
      teacher: the teacher.

    Returns:
      The largest difference of a parameter after eight steps.
    """

    def trained(batches: Any, **options: Any) -> Any:
        step = jaxkd.make_train_step(linear(6), recipes.kd(), optax.sgd(0.1), **options)
        result = fit(step, step.init(), batches, steps=8, progress=None)
        return {"params": result.state.params["student"]}

    with tempfile.TemporaryDirectory() as folder:
        options = {"batch_size": 4, "progress": False}
        stored = cache.build(f"{folder}/cache", teacher, rows(), **options)
        with_cache = trained(cached(stored))
    return Compared(largest(with_cache, trained(online, teacher=teacher)))


def rows() -> Dataset:
    """Returns rows of numbers as a data set."""
    return Dataset.from_arrays(ROWS, LABELS, name="rows", split="train", num_classes=3)


def linear(width: int, seed: int = 0) -> jaxkd.Network:
    """Returns a linear network of flat inputs."""
    weights = 0.1 * np.random.default_rng(seed).normal(size=(width, 3))
    return jaxkd.from_function(
        lambda w, x: x.reshape(len(x), -1) @ w, jnp.asarray(weights, jnp.float32)
    )
