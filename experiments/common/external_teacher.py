"""What the experiments with a teacher in another framework share: a cache, and a student of it."""

import functools
import os
import pathlib
import socket
from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import Views, recipes
from jaxkd.cache import CacheError
from jaxkd.data import Dataset, digits, raw_batch
from jaxkd.metrics import accuracy
from jaxkd.models import MLP
from jaxkd.study import Table
from jaxkd.study.evaluator import Evaluator
from jaxkd.study.runner import Training, train
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Dense
from jaxkd.teachers import ForeignTeacher
from jaxkd.training import is_main_process, sync_processes
from jaxkd.views import Normalize, RandomCrop

VIEWS = Views((RandomCrop(1), Normalize()))
PLAIN_VIEWS = Views((Normalize(),))
_BATCH = 64
_VIEWS = 8  # different views of each example
_EPOCHS = 60


def train_once(file: pathlib.Path, train: Callable[[pathlib.Path], None]) -> None:
    """Has the first process of a job train a teacher, unless its whole file is there."""
    if is_main_process() and not file.exists():
        # Of this process alone, so that two runs at the same time do not write one file.
        temporary = file.with_name(f".{socket.gethostname()}.{os.getpid()}.{file.name}")
        train(temporary)
        temporary.replace(file)
    sync_processes(str(file))


def rendered(data: Dataset, views: Views, ids: np.ndarray, view: int) -> np.ndarray:
    """Returns the very views that students see, as NumPy arrays, for whatever framework."""
    batch = raw_batch(data, views, ids, np.full(len(ids), view, np.int32))
    return np.asarray(_renderer(views)(batch)["inputs"])


@functools.lru_cache
def _renderer(views: Views) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    return jax.jit(views.render)


def distil(workdir: pathlib.Path, teacher: ForeignTeacher, runtime: Runtime) -> None:
    """Builds a cache of the teacher, trains a student without labels, and prints a table.

    Args:
      workdir: folder of the cache and the training; an interrupted run is resumed.
      teacher: takes inputs `[batch, 8, 8, 1]` and returns logits `[batch, 10]`.
      runtime: devices and tracing.

    Raises:
      AssertionError: the cache was opened under the fingerprint of another teacher.
    """
    data, test = digits.load("train"), digits.load("test")
    codec = Dense("float16")
    cache = jaxkd.cache.build(
        workdir / "cache", teacher, data, VIEWS, codec=codec, num_views=_VIEWS
    )
    other = {**teacher.fingerprint(), "name": "another"}
    try:
        jaxkd.cache.open(workdir / "cache", teacher=other, dataset=data, views=VIEWS)
    except CacheError as error:
        if is_main_process():
            print(f"Another teacher is refused: {error}\n")
    else:
        raise AssertionError("the cache was opened for another teacher")

    step = runtime.train_step(
        jaxkd.from_nnx(MLP(64, (64,), 10, rngs=nnx.Rngs(0))),
        recipes.kd(alpha=1.0, temperature=2.0),
        optax.adamw(5e-3),
        batch_size=_BATCH,
        views=VIEWS,
    )
    loader = runtime.loader(data, VIEWS, _BATCH, cache=cache)
    training = Training(
        workdir=workdir / "student",
        step=step,
        loader=loader,
        steps=_EPOCHS * loader.steps_per_epoch,
        log_every=50,
        steps_per_call=50,
    )
    student = Evaluator(test, PLAIN_VIEWS, runtime).logits(train(training, runtime).network)
    logits = teacher(rendered(test, PLAIN_VIEWS, test.ids, 0))["logits"]
    rows = [
        [name, f"{100 * accuracy(logits, test.labels):.2f} %"]
        for name, logits in {"teacher": logits, "student, no labels": student}.items()
    ]
    caption = (
        f"{cache.build_cost['records']:,} outputs computed, {cache.bytes:,} bytes in the cache."
    )
    if is_main_process():
        Table(f"Taught by {teacher.name}", ["Network", "Test accuracy"], rows, caption).print()
