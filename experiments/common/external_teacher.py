"""What the experiments with a teacher in another framework share: fill a cache, teach a student."""

import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import Views, recipes
from jaxkd.cache import CacheError, Writer
from jaxkd.data import Dataset, Loader, digits, eval_batches, raw_batch
from jaxkd.metrics import accuracy
from jaxkd.models import MLP
from jaxkd.study import Table
from jaxkd.targets import Dense
from jaxkd.training import (
    Partitioning,
    evaluate,
    fit,
    is_first,
    make_eval_step,
    wait_for_all,
)
from jaxkd.views import Normalize, RandomCrop

VIEWS = Views((RandomCrop(1), Normalize()))
PLAIN = Views((Normalize(),))
Answer = Callable[[np.ndarray], np.ndarray]


def fingerprint_of(framework: str, file: pathlib.Path) -> dict[str, str]:
    """Names the teacher that lies in a file."""
    return {
        "framework": framework,
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def train_once(file: pathlib.Path, train: Callable[[pathlib.Path], None]) -> None:
    """Has the first process of a job train a teacher, unless its file is there."""
    if is_first() and not file.exists():
        train(file)
    wait_for_all(str(file))


def rendered(data: Dataset, views: Views, ids: np.ndarray, view: int) -> np.ndarray:
    """The very views that students see, as NumPy arrays, for whatever framework."""
    batch = raw_batch(data, views, ids, np.full(len(ids), view, np.int32))
    return np.asarray(_renderer(views)(batch)["inputs"])


@functools.lru_cache
def _renderer(views: Views) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    return jax.jit(views.render)


def fill(
    path: pathlib.Path, fingerprint: Mapping[str, str], answer: Answer, data: Dataset, views: int
) -> int:
    """Asks the teacher for what the cache lacks; returns how many answers that were."""
    asked = 0
    with Writer(
        path,
        fingerprint,
        data,
        VIEWS,
        shapes={"logits": (data.num_classes,)},
        codec=Dense("float16"),
        num_views=views,
        process=(jax.process_index(), jax.process_count()),
    ) as writer:
        for ids, view in writer.missing(batch_size=256):
            writer.write(ids, view, answer(rendered(data, VIEWS, ids, view)))
            asked += len(ids)
    return asked


def distil(
    workdir: pathlib.Path,
    fingerprint: Mapping[str, str],
    answer: Answer,
    *,
    views: int = 8,
    epochs: int = 60,
    partitioning: Partitioning | None = None,
    profile: int | None = None,
) -> dict[str, float]:
    """Fills a cache from the teacher, trains a student that sees no label, and reports.

    Args:
      workdir: the cache goes below it; a run that was cut goes on.
      fingerprint: of the teacher.
      answer: from inputs `[batch, 8, 8, 1]` to logits `[batch, 10]`.
      views: of each example.
      epochs: of the student.
      partitioning: of all devices, None for a single one.
      profile: steps to trace, see `jaxkd.training.fit`.

    Returns:
      The accuracies of teacher and student, and the answers asked for.

    Raises:
      AssertionError: another teacher's fingerprint was not refused.
    """
    data, test = digits.load("train"), digits.load("test")
    asked = fill(workdir / "cache", fingerprint, answer, data, views)
    cache = jaxkd.cache.open(workdir / "cache", teacher=fingerprint, dataset=data, views=VIEWS)
    other = {**fingerprint, "sha256": "0" * 64}
    try:
        jaxkd.cache.open(workdir / "cache", teacher=other, dataset=data, views=VIEWS)
    except CacheError as error:
        if is_first():
            print(f"Another teacher is refused: {error}\n")
    else:
        raise AssertionError("the cache was opened for another teacher")

    student = jaxkd.from_nnx(MLP(64, (64,), 10, rngs=nnx.Rngs(0)))
    objective, adam = recipes.kd(alpha=1.0, temperature=2.0), optax.adamw(5e-3)
    spread = partitioning and partitioning.for_batch(64)
    process = spread.process if spread else (0, 1)
    loader = Loader(data, VIEWS, 64, cache=cache, process=process)
    step = jaxkd.make_train_step(student, objective, adam, views=VIEWS, partitioning=spread)
    fitted = fit(
        step,
        step.init(),
        loader,
        steps=epochs * loader.steps_per_epoch,
        log_every=50,
        checkpoint_every=500,
        workdir=workdir / "student",
        steps_per_call=50,
        progress="student",
        profile=profile,
    )
    taught = fitted.state.network(student)
    scores = evaluate(
        make_eval_step(taught, views=PLAIN), taught.params, taught.state, eval_batches(test, 60)
    )
    reached = accuracy(answer(rendered(test, PLAIN, test.ids, 0)), test.labels)
    rows = [
        ["teacher", f"{100 * reached:.2f} %"],
        ["student, no labels", f"{100 * scores['accuracy']:.2f} %"],
    ]
    caption = f"{asked:,} answers asked for, {cache.bytes:,} bytes in the cache."
    if is_first():
        Table(f"Taught by {fingerprint['framework']}", ["", "Test accuracy"], rows, caption).print()
    return {"teacher": reached, "student": scores["accuracy"], "asked": asked}
