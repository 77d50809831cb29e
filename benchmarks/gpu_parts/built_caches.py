"""Building a cache against the teacher's forward passes alone."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.cache_speed import passes_and_build
from benchmarks.gpu_parts.results import Goal, Row, attempted
from benchmarks.gpu_parts.sizes import Sizes, linear_teacher, make_images, make_student
from benchmarks.side_by_side import interleaved
from jaxkd.data import Dataset

PAIRS = 4


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """One row: dense float32 logits, which are the most to write.

    Every call compiles its program anew, before it reads the second batch. So the clock starts
    there, for the build and for the passes alone.
    """
    yield attempted(sizes.teacher, lambda: _measure(sizes, until))


def _measure(sizes: Sizes, until: float) -> Row:
    linear = sizes.teacher == "linear"
    teacher = linear_teacher(sizes) if linear else make_student(sizes.teacher, sizes)
    data, read_at = _watched(make_images(sizes, sizes.cached))
    openings: list[float] = []

    def after_the_first_batch(call: Callable[[], float]) -> float:
        read_at.clear()
        started = time.perf_counter()
        end = started + call()
        openings.append(read_at[0] - started)
        return end - read_at[1]

    passes, build = passes_and_build(teacher, data, sizes.cache_batch)
    times = interleaved(
        lambda: after_the_first_batch(passes),
        lambda: after_the_first_batch(build),
        PAIRS,
        until=until,
    )
    counted = sizes.cached - sizes.cache_batch
    numbers = {
        "Forward passes, images/s": counted / times.medians[0],
        "Build, images/s": counted / times.medians[1],
        "Build over passes": times.ratio,
        # Of all calls the longest: it is that of the build that hashes teacher and data first.
        "Before the first batch, s": max(openings),
    }
    case = f"{sizes.teacher}, {sizes.cached:,} images"
    return Row(case, numbers, (Goal("build over passes", times.ratio, 1.05),))


def _watched(data: Dataset) -> tuple[Dataset, list[float]]:
    """The same data, and a list of the moments at which batches of it are read."""
    moments: list[float] = []

    class Watched(Dataset):
        def read(self, ids: npt.ArrayLike, view: npt.ArrayLike = 0) -> np.ndarray:
            if np.size(ids) > 1:  # a single one is read for its shape
                moments.append(time.perf_counter())
            return super().read(ids, view)

    fields = [field.name for field in dataclasses.fields(data) if field.init]
    return Watched(**{name: getattr(data, name) for name in fields}), moments
