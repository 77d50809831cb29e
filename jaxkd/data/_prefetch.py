"""Prefetching with Grain: batches are made in threads or processes while the step runs."""

import collections
import math
from typing import Any, Protocol

import jax
import numpy as np

from jaxkd.data import _read_contents

# More steps than any run takes, and few enough for C's integers.
ENDLESS = 2**40


class ByIndex(Protocol):
    """Batches by number, each a pure function of it."""

    def __len__(self) -> int:
        """Returns the number of batches."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns one batch."""


class Prefetcher:
    """Batches by number, with the following ones made ahead.

    Read in order, it hands out what Grain has made in the meantime. Read at any other number, it
    starts again from there. The last two batches are kept, since the first one is read twice: once
    for its shapes.

    Args:
      source: makes a batch; pickled if there are workers.
      prefetch: number of batches that are made ahead, by as many threads, or in all workers
        together.
      workers: number of processes that make them; 0: threads of this one.

    Raises:
      ImportError: Grain is not installed.
      ValueError: negative numbers.
    """

    def __init__(self, source: ByIndex, prefetch: int, workers: int):
        if prefetch < 0 or workers < 0:
            raise ValueError(
                f"prefetch and workers must not be negative, got {prefetch} and {workers}"
            )
        try:
            import grain
        except ImportError as error:
            raise ImportError(
                'Batches are prefetched by Grain: pip install "jaxkd-distill[data]"'
            ) from error
        self._grain: Any = grain
        self._source, self._prefetch, self._workers = source, prefetch, workers
        self._iterator: Any = None
        self._next = 0
        self._kept: collections.deque[tuple[int, dict[str, Any]]] = collections.deque(maxlen=2)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns the batch of a number; a worker's error is raised here."""
        for number, batch in self._kept:
            if number == index:
                return dict(batch)
        if self._iterator is None or index != self._next:
            self.close()
            self._iterator = self._start(index)
        try:
            batch = next(self._iterator)
        except BaseException:
            self.close()
            raise
        self._next = index + 1
        if self._workers:
            # Copied: Grain unmaps its shared memory as soon as its own object is collected.
            batch = jax.tree.map(np.array, batch)
        self._kept.append((index, batch))
        return dict(batch)

    def close(self) -> None:
        """Ends threads and worker processes; the next read starts them anew."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def _start(self, index: int) -> Any:
        grain = self._grain
        threads = 0 if self._workers else self._prefetch
        batches = grain.MapDataset.source(self._source).slice(slice(index, None))
        dataset = batches.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        )
        if self._workers:
            _parse_flags()
            per_worker = max(1, math.ceil(self._prefetch / self._workers))
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(self._workers, per_worker),
                worker_init_fn=_begin_worker,
            )
        iterator = iter(dataset)
        iterator.start_prefetch()
        return iterator


def _begin_worker(index: int, count: int) -> None:
    del index, count
    # The accelerators belong to the process that trains.
    jax.config.update("jax_platforms", "cpu")
    _read_contents.decode_serially()


def _parse_flags() -> None:
    """Marks absl's flags as parsed, for Grain's workers read them, also without absl.app."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
