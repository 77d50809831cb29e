"""Reading ahead with Grain: batches are made in threads or processes while the step runs."""

import collections
import math
from typing import Any, Protocol

import jax
import numpy as np

from jaxkd.data import _encoded_images

# As many as no run takes steps, and few enough for C's integers.
ENDLESS = 2**40


class ByIndex(Protocol):
    """What is read ahead: batches by number, pure functions of it."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One of them."""


class Prefetcher:
    """Batches by number, with the following ones made ahead.

    Asked for one number after the other, it hands out what Grain has made in the meantime. Asked
    for any other number, it starts again from there. The last two batches are kept, since the
    first one is asked for twice.

    Args:
      source: makes a batch; pickled if there are workers.
      prefetch: batches that are made ahead, by as many threads, or in all workers together.
      workers: processes that make them; 0: threads of this one.

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
                'Batches are read ahead by Grain: pip install "jaxkd-distill[data]"'
            ) from error
        self._grain: Any = grain
        self._source, self._prefetch, self._workers = source, prefetch, workers
        self._iterator: Any = None
        self._next = 0
        self._kept: collections.deque[tuple[int, dict[str, Any]]] = collections.deque(maxlen=2)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The batch of a number; a worker's error is raised here."""
        for number, batch in self._kept:
            if number == index:
                return dict(batch)
        if self._iterator is None or index != self._next:
            self.close()
            self._iterator = self._started(index)
        try:
            batch = next(self._iterator)
        except BaseException:
            self.close()
            raise
        self._next = index + 1
        if self._workers:
            # Arrays of their own: Grain unmaps the shared memory when its own object is gone.
            batch = jax.tree.map(np.array, batch)
        self._kept.append((index, batch))
        return dict(batch)

    def close(self) -> None:
        """Ends threads and worker processes; asked again, it starts anew."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def _started(self, index: int) -> Any:
        grain = self._grain
        threads = 0 if self._workers else self._prefetch
        batches = grain.MapDataset.source(self._source).slice(slice(index, None))
        dataset = batches.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        )
        if self._workers:
            _parse_flags()
            each = max(1, math.ceil(self._prefetch / self._workers))
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(self._workers, each), worker_init_fn=_begin_worker
            )
        iterator = iter(dataset)
        iterator.start_prefetch()
        return iterator


def _begin_worker(index: int, count: int) -> None:
    del index, count
    # The accelerators belong to the process that trains.
    jax.config.update("jax_platforms", "cpu")
    _encoded_images.decode_serially()


def _parse_flags() -> None:
    """Grain's workers read absl's flags, which a program without absl.app never parsed."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
