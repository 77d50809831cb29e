"""Builders that race for one path, in threads and in processes that start once."""

import contextlib
import dataclasses
import functools
import multiprocessing
import pathlib
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import said
from jaxkd import cache as caches
from jaxkd.cache import CacheError

MOST_VIEWS = 4
TEACHERS = (1.0, 2.0, 3.0)


@dataclasses.dataclass(frozen=True)
class Builder:
    """One of those that race.

    Attributes:
      call: `build`, `fill`, `extend`, `write` or `merge`.
      teacher: which teacher.
      num_views: number of views.
      block_size: examples in a file.
      batch_size: examples in a forward pass.
      delay: seconds after the start of the race.
    """

    call: str = "build"
    teacher: int = 0
    num_views: int = 2
    block_size: int = 24
    batch_size: int = 32
    delay: float = 0.0


@dataclasses.dataclass(frozen=True)
class Result:
    """How a builder ended: `"complete"`, `"refused"`, or `"error"` for any other exception."""

    ended: str
    text: str = ""


@functools.cache
def teacher(index: int) -> Any:
    """One network a teacher, so that its programs are compiled once in a process."""
    return setting.teacher(TEACHERS[index])


def name_of(index: int) -> dict[str, str]:
    """What names the teacher of a `Writer`."""
    return {"name": "written", "sha256": str(index)}


def outputs(index: int) -> np.ndarray:
    """What a `Writer` writes in each view."""
    return (
        np.arange(setting.EXAMPLES * setting.CLASSES).reshape(setting.EXAMPLES, -1)
        * (TEACHERS[index])
    )


def ran(path: str, builder: Builder, parts: str) -> Result:
    """Runs a builder to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            globals()[f"_{builder.call}"](path, builder, parts)
        except CacheError as error:
            return Result("refused", said(error)[:400])
        except Exception as error:
            return Result("error", said(error)[:400])
    return Result("complete")


def _build(path: str, builder: Builder, parts: str) -> None:
    setting.build(path, teacher(builder.teacher), **_sizes(builder), batch_size=builder.batch_size)


def _fill(path: str, builder: Builder, parts: str) -> None:
    data = setting.dataset()
    given = {"teacher": teacher(builder.teacher), "dataset": data, "views": setting.VIEWS}
    with caches.open(path, mode="fill", **given, **_sizes(builder)) as cache:
        for view in range(builder.num_views):
            for start in range(0, len(data), builder.batch_size):
                cache.read(data.ids[start : start + builder.batch_size], view)
    caches.open(path, **given)


def _extend(path: str, builder: Builder, parts: str) -> None:
    caches.extend(
        path,
        teacher(builder.teacher),
        setting.dataset(),
        setting.VIEWS,
        **_sizes(builder),
        batch_size=builder.batch_size,
        progress=False,
    )


def _write(path: str, builder: Builder, parts: str) -> None:
    data, values = setting.dataset(), outputs(builder.teacher)
    writer = caches.Writer(
        path,
        name_of(builder.teacher),
        data,
        setting.VIEWS,
        shapes={"logits": (setting.CLASSES,)},
        **_sizes(builder),
    )
    with writer:
        for ids, view in writer.missing(builder.batch_size):
            writer.write(ids, view, values[data.rows(ids)])
    writer.cache()


def _merge(path: str, builder: Builder, parts: str) -> None:
    caches.merge(path, [f"{parts}/{builder.teacher}_{half}" for half in (0, 1)])


def _sizes(builder: Builder) -> dict[str, int]:
    return {"num_views": builder.num_views, "block_size": builder.block_size}


def in_threads(path: str, builders: Sequence[Builder], parts: str) -> list[Result]:
    """Races in threads of this process."""
    results: list[Any] = [None] * len(builders)
    start = threading.Barrier(len(builders))

    def go(index: int) -> None:
        start.wait()
        time.sleep(builders[index].delay)
        results[index] = ran(path, builders[index], parts)

    threads = [threading.Thread(target=go, args=(index,)) for index in range(len(builders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class Processes:
    """Processes that are started once and race many times."""

    def __init__(self, count: int):
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def race(self, path: str, builders: Sequence[Builder], parts: str) -> list[Result]:
        """Races in as many processes as there are builders."""
        start = time.time() + 0.05
        pipes = self._pipes[: len(builders)]
        for pipe, builder in zip(pipes, builders, strict=True):
            pipe.send((path, builder, parts, start + builder.delay))
        return [pipe.recv() for pipe in pipes]

    def close(self) -> None:
        """Ends the processes."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


@contextlib.contextmanager
def processes(count: int) -> Iterator[Processes]:
    """Processes for races, ended afterwards."""
    started = Processes(count)
    try:
        yield started
    finally:
        started.close()


def _serve(pipe: Any) -> None:
    while (task := pipe.recv()) is not None:
        path, builder, parts, start = task
        teacher(builder.teacher)
        time.sleep(max(0.0, start - time.time()))
        pipe.send(ran(path, builder, parts))


def prepare(folder: pathlib.Path) -> None:
    """Builds the halves that are merged and the caches that are extended, of each teacher."""
    data = setting.dataset()
    for index in range(len(TEACHERS)):
        network = teacher(index)
        setting.build(folder / f"{index}", network)
        setting.build(folder / f"{index}_long", network, num_views=MOST_VIEWS)
        for half, ids in enumerate((data.ids[:48], data.ids[48:])):
            setting.build(folder / f"{index}_{half}", network, data.select(ids))
