"""Part F: opening a large cache and reading it at random, this tree beside another."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

EXAMPLES, ROUNDS, READS, BATCH = 60_000, 9, 200, 256
COLUMNS = ["Cache of 60,000 examples", "Here", "Before", "Ratio"]


def run(
    folder: pathlib.Path,
    *,
    seed: int = 0,
    first: int | None = None,
    trees: tuple[pathlib.Path, ...] = (),
) -> dict[str, Any]:
    """Measures in a process for each tree, in turn, and compares medians."""
    examples, rounds = (EXAMPLES, ROUNDS) if first is None else (2_000, 1)
    here = pathlib.Path(__file__).resolve().parent.parent.parent
    trees = trees or (here,)
    workers = [_Worker(tree, here, folder / str(n), examples) for n, tree in enumerate(trees)]
    found: list[list[dict[str, float]]] = [[] for _ in workers]
    for number in range(rounds + 1):
        for worker, results in zip(workers, found, strict=True):
            result = worker.measured(seed + number)
            if number:  # the first round compiles
                results.append(result)
    for worker in workers:
        worker.close()
    medians = [
        {name: statistics.median(r[name] for r in results) for name in results[0]}
        for results in found
    ]
    rows, wrong = [], []
    for name, value in medians[0].items():
        before = medians[1].get(name, float("nan")) if len(medians) > 1 else float("nan")
        ratio = value / before if before else float("nan")
        rows.append([name, f"{value:,.3g}", f"{before:,.3g}", f"{ratio:.2f}"])
        if name in LIMITS and len(medians) > 1 and not LIMITS[name](ratio):
            wrong.append(f"{name}: {ratio:.2f} times before")
    caption = f"Medians of {rounds} rounds, one process for each tree, in turn."
    if first is not None:
        wrong = []
    table = {"columns": COLUMNS, "rows": rows, "compared": "Here"}
    return {"table": table, "wrong": wrong, "caption": caption}


LIMITS: dict[str, Callable[[float], bool]] = {
    "opening without spot checks, ms": lambda ratio: ratio <= 1.2,
    "random records from files, 1,000/s": lambda ratio: ratio >= 0.9,
    "random records from memory, 1,000/s": lambda ratio: ratio >= 0.9,
}


class _Worker:
    """A process that measures with the library of one tree."""

    def __init__(self, tree: pathlib.Path, parts: pathlib.Path, path: pathlib.Path, examples: int):
        code = (
            f"import sys; sys.path[:0] = {[str(tree.resolve()), str(parts)]!r}\n"
            "from benchmarks.contract_attacks_parts import opening\n"
            f"opening.serve({str(path)!r}, {examples})\n"
        )
        environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def measured(self, seed: int) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        result: dict[str, float] = json.loads(self._process.stdout.readline())
        return result

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(path: str, examples: int) -> None:
    """Builds a cache, and measures once for every seed that comes in."""
    import jax.numpy as jnp
    import numpy as np

    import jaxkd
    from jaxkd import cache as caches
    from jaxkd.data import Dataset
    from jaxkd.targets import TopK
    from jaxkd.views import Normalize, RandomCrop, Views

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, 28, 28, 1)).astype(np.uint8)
    weights = jnp.asarray(rng.normal(size=(784, 100)).astype(np.float32))
    labels = rng.integers(0, 100, examples)
    views = Views((RandomCrop(2), Normalize()))

    def teacher() -> Any:
        return jaxkd.from_function(lambda p, x: x.reshape(len(x), -1) @ p, weights)

    def dataset() -> Dataset:
        return Dataset.from_arrays(images, labels, name="x", split="train", num_classes=100)

    caches.build(path, teacher(), dataset(), views, codec=TopK(8), num_views=2, progress=False)
    fingerprint = teacher().fingerprint()
    for line in sys.stdin:
        order, data = np.random.default_rng(int(line)), dataset()
        _ = data.fingerprint  # of the data alone, the same for both
        result = {}
        for name, given, allow in (
            ("by the teacher itself", teacher(), set()),
            ("by the teacher's fingerprint", fingerprint, set()),
            # What comes on top: a few views are rendered, and the teacher is traced.
            ("without spot checks", fingerprint, {"views.probe"}),
        ):
            reads, start = file_reads(), time.perf_counter()
            caches.open(path, teacher=given, dataset=data, views=views, allow=allow)
            seconds = time.perf_counter() - start
            result[f"opening {name}, ms"] = 1e3 * seconds
            result[f"opening {name}, reads of files"] = file_reads() - reads
        for name, limit in {"files": 0, "memory": 1 << 30}.items():
            cache = caches.open(
                path, teacher=fingerprint, dataset=data, views=views, memory_limit=limit
            )
            batches = [order.integers(0, examples, BATCH) for _ in range(READS)]
            cache.read(batches[0], 0)
            reads, start = file_reads(), time.perf_counter()
            for number, ids in enumerate(batches):
                cache.read(ids, number % 2 if limit == 0 else 0)
            rate = READS * BATCH / (time.perf_counter() - start) / 1e3
            result[f"random records from {name}, 1,000/s"] = rate
            if not limit:
                result["reads of files for these"] = file_reads() - reads
        print(json.dumps(result), flush=True)


def file_reads() -> float:
    """Returns how many reads of files TensorStore has made in this process."""
    import tensorstore as ts

    metrics = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/read")
    return float(
        sum(value.get("value", 0) for metric in metrics for value in metric.get("values", ()))
    )
