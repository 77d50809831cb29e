"""Batches: a pure function of the step number, joined with a cache by example id and view."""

import concurrent.futures
from types import TracebackType
from typing import Any, Protocol, Self

import jax
import numpy as np

from jaxkd.data._batches import raw_batch
from jaxkd.data._examples import Examples, integer
from jaxkd.data._kinds import check_examples
from jaxkd.data._prefetch import ENDLESS, Prefetcher
from jaxkd.views import Views


class CacheReader(Protocol):
    """What a loader needs of a cache.

    A cache that was opened with a data set and views may also have them as `dataset` and `views`:
    a loader takes them from there where it is given none.
    """

    num_views: int
    in_memory: bool

    def check(self, *, dataset: Examples, views: Views, num_views: int | None) -> None:
        """Refuses another data set or other views."""

    def read(self, ids: np.ndarray, view: int) -> Any:
        """Reads the encoded outputs for some examples in one view."""


class Loader:
    """Raw training batches by step number: `loader[step]`.

    An epoch is a permutation that depends on `(seed, epoch)`; what does not fill a batch at its end
    is left out, and in other epochs it is other examples. Epoch e shows view `e % num_views`. Being
    a function of the step, the data's position needs no saving and a run resumes anywhere. From a
    cache that does not lie in memory, the batch of the next step is read ahead.

    A cache that was built or opened with a data set and views brings both along:
    `Loader(cache=cache, batch_size=256)`. Others that are given, such as a selection of the
    examples, are checked against it.

    Where images are decoded (`EncodedImages`), batches should be made while the step runs:
    `prefetch` has them made by threads of this process, `workers` by processes of their own
    (through Grain). Both give the same batches to the bit; where the next step that is read is not
    the following one, they start again from there, which takes workers a few seconds. Worker
    processes import the program's main module: a script that uses them keeps what it does under
    `if __name__ == "__main__":`.

    Args:
      dataset: the examples, by default those of the cache. Their order makes no difference.
      views: how they are rendered inside the step, by default those of the cache, and unchanged
        without one; here they say which partners to send along.
      batch_size: examples in a batch, which must be given.
      seed: seed of the order.
      cache: an opened cache whose encoded outputs become `batch["teacher"]`; checked against
        dataset and views here, before the first step.
      num_views: number of different views of an example; by default those of the cache, and a new
        one in each epoch without.
      process: `(index, count)` of this process among those that share a batch, each reading its own
        part of it (`Partitioning.process`); by default those of `jax.distributed`. The examples of
        a step do not depend on it.
      prefetch: number of batches that are made ahead of the step; by default none, and two for each
        worker. Needs as much memory.
      workers: number of processes that make them, 0 for threads of this one.

    Attributes:
      dataset: the examples.
      views: how they are rendered.
      batch_size: examples in a batch, of all processes together.
      seed: seed of the order.
      num_views: number of different views of an example, None for a new one in each epoch.
      cache: what the teacher's outputs are read from, None where nothing is.
      process: `(index, count)` of this process.
      steps_per_epoch: number of full batches in an epoch.

    Raises:
      ImportError: `prefetch` or `workers` without Grain.
      TypeError: no batch size, or a seed that is no integer.
      ValueError: a negative seed, no data set, fewer examples than a batch, a batch that does not
        divide by the processes, or a cache that does not fit (`CacheError`).

    Example:
      >>> from jaxkd.data import Dataset
      >>> data = Dataset.from_arrays(
      ...     np.arange(5, dtype=np.float32)[:, None], name="five", split="train", num_classes=2)
      >>> loader = Loader(data, Views(), 2)
      >>> sorted(loader[0]), loader[0]["inputs"].shape, loader.steps_per_epoch
      (['id', 'inputs', 'labels', 'view'], (2, 1), 2)
      >>> with Loader(data, Views(), 2, prefetch=2) as same:
      ...     np.array_equal(same[7]["id"], loader[7]["id"])
      True
    """

    def __init__(
        self,
        dataset: Examples | None = None,
        views: Views | None = None,
        batch_size: int | None = None,
        *,
        seed: int = 0,
        cache: CacheReader | None = None,
        num_views: int | None = None,
        process: tuple[int, int] | None = None,
        prefetch: int | None = None,
        workers: int = 0,
    ):
        if batch_size is None:
            raise TypeError("batch_size is missing: Loader(dataset, views, batch_size)")
        if integer(seed, "seed") < 0:
            raise ValueError(f"the seed of a loader must be an integer from 0 on, not {seed}")
        dataset, views, num_views = checked_inputs(dataset, views, cache, num_views)
        process = process or (jax.process_index(), jax.process_count())
        _check_batch(batch_size, len(dataset), process)
        self.process = process
        self.dataset, self.views, self.batch_size = dataset, views, batch_size
        self.seed, self.num_views, self.cache = seed, num_views, cache
        self.steps_per_epoch = len(dataset) // batch_size
        steps = _Steps(dataset, views, batch_size, seed, num_views, process)
        prefetch = 2 * workers if prefetch is None else prefetch
        self._raw: _Steps | Prefetcher = steps
        if prefetch or workers:
            self._raw = Prefetcher(steps, prefetch, workers)
        self._reader: concurrent.futures.Executor | None = None
        if cache is not None and not cache.in_memory:
            self._reader = concurrent.futures.ThreadPoolExecutor(1)
        self._next: tuple[int, concurrent.futures.Future[dict[str, Any]]] | None = None

    def __repr__(self) -> str:
        views = self.num_views or "a new one in each epoch"
        cache = "" if self.cache is None else f", cache={getattr(self.cache, 'path', '…')!r}"
        return (
            f"Loader({self.dataset.name!r}, split {self.dataset.split!r}: {len(self.dataset):,} "
            f"examples in batches of {self.batch_size}, {self.steps_per_epoch:,} steps an epoch, "
            f"views: {views}, seed {self.seed}{cache})"
        )

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns this process's part of the batch of a step, NumPy arrays on the host.

        Args:
          step: number of the step, from 0 on.

        Raises:
          TypeError: a step that is not an integer.
          ValueError: a negative one.
        """
        step = integer(step, "step")
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}: there is no last batch")
        if self._reader is None:
            return self._batch(step)
        following, self._next = self._next, None
        # One thread makes all batches: neither the prefetcher nor a cache needs a lock.
        if following is None or following[0] != step:
            following = step, self._reader.submit(self._batch, step)
        batch = following[1].result()
        self._next = step + 1, self._reader.submit(self._batch, step + 1)
        return batch

    def close(self) -> None:
        """Ends threads and worker processes that read ahead; garbage collection does so, too."""
        if self._next is not None:
            concurrent.futures.wait([self._next[1]])
            self._next = None
        if isinstance(self._raw, Prefetcher):
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _batch(self, step: int) -> dict[str, Any]:
        batch = self._raw[step]
        if self.cache is not None:
            batch["teacher"] = self.cache.read(batch["id"], int(batch["view"][0]))
        return batch


class _Steps:
    """Raw batches by step, without cached outputs: the part that a worker process makes."""

    def __init__(
        self,
        dataset: Examples,
        views: Views,
        batch_size: int,
        seed: int,
        num_views: int | None,
        process: tuple[int, int],
    ):
        self._dataset, self._views, self._batch_size = dataset, views, batch_size
        self._seed, self._num_views, self._process = seed, num_views, process
        self._steps_per_epoch = len(dataset) // batch_size
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, step: int) -> dict[str, Any]:
        epoch, index = divmod(step, self._steps_per_epoch)
        # Read once: another thread may replace the pair at any moment.
        order = self._order
        if order[0] != epoch:
            # NumPy guarantees the raw stream of a bit generator, not the results of its samplers.
            raw = np.random.PCG64((self._seed, epoch)).random_raw(len(self._dataset))
            order = self._order = (epoch, self._dataset.ids[np.argsort(raw, kind="stable")])
        part, parts = self._process
        size = self._batch_size // parts
        start = index * self._batch_size + part * size
        ids = order[1][start : start + size]
        view = epoch % self._num_views if self._num_views else epoch
        return raw_batch(self._dataset, self._views, ids, np.full(len(ids), view, np.int32))


def checked_inputs(
    dataset: Examples | None,
    views: Views | None,
    cache: CacheReader | None,
    num_views: int | None,
) -> tuple[Examples, Views, int | None]:
    """Takes from a cache what is not given, and checks against it what is.

    Args:
      dataset: the examples; None: those that the cache was opened with.
      views: how they are rendered; None: as the cache was opened, or unchanged.
      cache: an opened cache, or None.
      num_views: number of views of each example; None: those of the cache.

    Returns:
      Data set, views and number of views, which is None without a cache.

    Raises:
      TypeError: something else in place of the data set.
      ValueError: no data set, no views to show, or a cache that does not fit (`CacheError`).
    """
    if num_views is not None and integer(num_views, "num_views") < 1:
        raise ValueError(f"num_views must be at least 1, not {num_views}")
    dataset = getattr(cache, "dataset", None) if dataset is None else dataset
    if dataset is None:
        raise ValueError(
            "the data set is missing: give it, or a cache that jaxkd.cache.build or "
            "jaxkd.cache.open opened with one"
        )
    check_examples(dataset)
    views = getattr(cache, "views", None) if views is None else views
    views = Views() if views is None else views
    if cache is not None:
        cache.check(dataset=dataset, views=views, num_views=num_views)
        num_views = num_views or cache.num_views
    return dataset, views, num_views


def _check_batch(batch_size: int, num_examples: int, process: tuple[int, int]) -> None:
    if not 0 <= process[0] < process[1]:
        raise ValueError(f"process must be (index, count) with index < count, not {process}")
    if not 1 <= integer(batch_size, "batch_size") <= num_examples:
        raise ValueError(
            f"a batch of {batch_size} cannot be made of {num_examples} examples; choose a "
            "batch_size between 1 and that"
        )
    if batch_size % process[1]:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared evenly by {process[1]} processes: "
            "choose a batch_size that is a multiple"
        )
