"""Killed at random moments: is a cache, resumed and finished, the one that was never killed?

  python benchmarks/cache_kills.py [--kills 200]

One, two or three processes fill a cache together. Some hand encoded outputs to a `Writer`, in
random order, and save partial blocks on disk; others run `build`. Each process is killed by SIGKILL
at a random moment: while it starts, writes, saves a partial block or closes (which seals), a build
at any time up to its end and beyond. They are started again until the cache is complete; then
every array of every record is compared with the uninterrupted cache. A new cache follows, until
there were that many kills. Writes benchmarks/cache_kills.md; exit status 1 if a record was lost or
wrong.
"""

import argparse
import collections
import dataclasses
import functools
import multiprocessing
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jaxkd
from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError, Writer
from jaxkd.data import Dataset
from jaxkd.study import Table
from jaxkd.targets import TopK
from jaxkd.views import Views

HERE = pathlib.Path(__file__).parent
EXAMPLES, VIEWS, CLASSES, BLOCK = 3_000, 3, 20, 256
TEACHER = {"name": "random numbers"}
CODEC = TopK(4)
# What a writer does, and how many seconds after it begins to do so it is killed at the latest.
PHASES = {"starting": 0.15, "writing": 2.0, "saving a partial block": 0.05, "closing": 0.1}
STARTING, WRITING, PUTTING_ASIDE, CLOSING = range(4)
# Processes that are forked from one that has imported everything, but started no JAX backend.
PROCESSES = multiprocessing.get_context("forkserver")


@functools.cache
def dataset() -> Dataset:
    inputs = np.random.default_rng(0).integers(-3, 4, (EXAMPLES, 16)).astype(np.float32)
    ids = 2 * np.arange(EXAMPLES)
    return Dataset.from_arrays(inputs, ids=ids, name="nothing", split="train", num_classes=CLASSES)


def network() -> jaxkd.Network:
    """A teacher of whole numbers, so that no batch rounds otherwise."""
    weights = np.random.default_rng(1).integers(-3, 4, (16, CLASSES)).astype(np.float32)
    return jaxkd.from_function(lambda params, inputs: inputs @ params, weights)


def write(path: str, index: int, count: int, seed: int, outputs: str, phase: Any) -> None:
    """A writer: fills what is missing in random order, and saves partial blocks now and then."""
    rng, data = random.Random(seed), dataset()
    writer = Writer(
        path,
        TEACHER,
        data,
        shapes={"logits": (CLASSES,)},
        codec=CODEC,
        num_views=VIEWS,
        block_size=BLOCK,
        process=(index, count),
    )
    with np.load(outputs) as stored:
        tables = dict(stored)
    wanted = list(writer.missing(64))
    rng.shuffle(wanted)
    for ids, view in wanted:
        phase.value = WRITING
        some = ids[np.array(rng.sample(range(len(ids)), len(ids)))]
        arrays = {name: table[view, data.rows(some)] for name, table in tables.items()}
        writer.write_records(some, view, arrays)
        time.sleep(rng.random() * 0.02)
        if rng.random() < 0.1:
            phase.value = PUTTING_ASIDE
            writer.flush()
    phase.value = CLOSING
    writer.close()


def build(path: str, index: int, count: int, seed: int, outputs: str, phase: Any) -> None:
    """A build, from its first moment to its last."""
    del seed, outputs, phase
    options = {"codec": CODEC, "num_views": VIEWS, "block_size": BLOCK, "batch_size": 4}
    caches.build(path, network(), dataset(), process=(index, count), progress=False, **options)


@dataclasses.dataclass
class Total:
    """Counts over all caches of one kind."""

    caches: int = 0
    starts: int = 0
    kills: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    lost: int = 0
    wrong: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    PROCESSES.set_forkserver_preload(["jaxkd.cache", "jaxkd.study", "tensorstore"])
    rng, started = random.Random(arguments.seed), time.perf_counter()
    totals = {(fill, count): Total() for count in (1, 2, 3) for fill in (write, build)}
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        outputs = f"{place / 'outputs'}.npz"
        whole, seconds = uninterrupted(place, outputs)
        killed = 0
        while killed < arguments.kills:
            for (fill, count), total in totals.items():
                path = str(place / f"{fill.__name__}{count}-{total.caches}")
                while not complete(path):
                    total.kills.update(one_round(fill, count, path, outputs, 1.3 * seconds, rng))
                    total.starts += count
                lost, wrong = compare(Cache(path), whole[fill])
                total.caches += 1
                total.lost += lost
                total.wrong += wrong
                killed = sum(t.kills.total() for t in totals.values())
                print(f"{killed} kills; {lost} records lost, {wrong} wrong", flush=True)
    rows = [
        [
            "Writer" if fill is write else "build",
            *(str(n) for n in (count, t.caches, t.starts, t.kills.total())),
            ", ".join(f"{n} {phase}" for phase, n in sorted(t.kills.items())),
            f"{t.lost:,}",
            f"{t.wrong:,}",
        ]
        for (fill, count), t in totals.items()
    ]
    columns = ["Filled by", "Processes", "Caches", "Starts", "Kills", "While", "Lost", "Wrong"]
    table = Table(
        "Caches whose writers were killed",
        columns,
        rows,
        f"{EXAMPLES:,} examples in {VIEWS} views in blocks of {BLOCK}, {CODEC}; {killed} "
        "kills by SIGKILL. Lost and wrong: records, against the cache never interrupted. "
        f"{time.perf_counter() - started:.0f} s. `python benchmarks/cache_kills.py`, jax "
        f"{jax.__version__}.",
    )
    table.print()
    (HERE / "cache_kills.md").write_text(
        f"# {table.title}\n\n{table.to_markdown()}\n\n{table.caption}\n", encoding="utf-8"
    )
    return int(any(t.lost or t.wrong for t in totals.values()))


def uninterrupted(
    place: pathlib.Path, outputs: str
) -> tuple[dict[Callable[..., None], Cache], float]:
    """Caches that were never killed, and the seconds of a build; leaves outputs in a file."""
    path = str(place / "build")
    for _ in range(2):  # the first one also starts the process that all others are forked from
        shutil.rmtree(path, ignore_errors=True)
        started = time.perf_counter()
        process = PROCESSES.Process(target=build, args=(path, 0, 1, 0, outputs, None))
        process.start()
        process.join()
        seconds = time.perf_counter() - started
    built = Cache(path)
    records = [built.read(built.ids, view).arrays["logits"] for view in range(VIEWS)]
    # Other outputs in each view, so that no view passes for another.
    records = [
        {n: np.roll(a, view, axis=0) for n, a in r.items()} for view, r in enumerate(records)
    ]
    tables = {f"logits.{name}": np.stack([r[name] for r in records]) for name in records[0]}
    np.savez(outputs, **tables)
    path = str(place / "write")
    write(path, 0, 1, 0, outputs, PROCESSES.Value("i"))
    return {build: built, write: Cache(path)}, seconds


def one_round(
    fill: Callable[..., None],
    count: int,
    path: str,
    outputs: str,
    build_seconds: float,
    rng: random.Random,
) -> list[str]:
    """Starts all processes and kills each at a moment of its own; returns what they were doing."""
    running = []
    for index in range(count):
        phase = PROCESSES.Value("i", STARTING)
        arguments = (path, index, count, rng.randrange(10**9), outputs, phase)
        process = PROCESSES.Process(target=fill, args=arguments)
        process.start()
        doing = rng.randrange(len(PHASES)) if fill is write else STARTING
        longest = list(PHASES.values())[doing] if fill is write else build_seconds
        running.append([process, phase, doing, rng.uniform(0, longest), None])
    kills = []
    while running:
        for entry in list(running):
            process, phase, doing, delay, since = entry
            if since is None and phase.value >= doing:
                entry[-1] = since = time.monotonic()
            if process.exitcode is not None:
                if process.exitcode not in (0, -signal.SIGKILL):
                    raise RuntimeError(f"a writer ended with {process.exitcode}")
                if process.exitcode:
                    kills.append(list(PHASES)[phase.value] if fill is write else "at any time")
                running.remove(entry)
            elif since is not None and time.monotonic() - since >= delay:
                process.kill()
                process.join()
        time.sleep(0.001)
    return kills


def complete(path: str) -> bool:
    try:
        Cache(path)
    except CacheError as error:
        if "not complete" not in str(error) and "there is no cache" not in str(error):
            raise
        return False
    return True


def compare(cache: Cache, whole: Cache) -> tuple[int, int]:
    """Records lost and records wrong of a cache against one that was never interrupted."""
    teacher = network() if "teacher.name" not in whole.contract else TEACHER
    caches.open(cache.path, teacher=teacher, dataset=dataset(), views=Views())
    lost, wrong = len(caches.verify(cache.path)) * BLOCK, 0
    for view in range(VIEWS):
        try:
            found = cache.read(whole.ids, view).arrays["logits"]
        except CacheError:
            lost += EXAMPLES
            continue
        wanted = whole.read(whole.ids, view).arrays["logits"]
        differ = [np.any(found[n] != array, axis=1) for n, array in wanted.items()]
        wrong += int(np.sum(np.any(differ, axis=0)))
    return lost, wrong


if __name__ == "__main__":
    sys.exit(main())
