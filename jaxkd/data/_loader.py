"""Batches: a pure function of the step number, joined with a cache by example id and view."""

import concurrent.futures
import contextlib
import functools
import math
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import jax
import numpy as np

from jaxkd.data._examples import Examples
from jaxkd.data._prefetch import ENDLESS, Prefetcher
from jaxkd.views import Views


class CacheReader(Protocol):
    """What a loader asks of a cache."""

    num_views: int
    in_memory: bool

    def check(self, *, dataset: Examples, views: Views, num_views: int | None) -> None:
        """Refuses another data set or other views."""

    def read(self, ids: np.ndarray, view: int) -> Any:
        """Reads encoded outputs by id."""


class Loader:
    """Raw training batches by step number: `loader[step]`.

    An epoch is a permutation drawn from `(seed, epoch)`; what does not fill a batch at its end
    is left for the next epoch's draw. Epoch e shows view `e % num_views`. Being a function of the
    step, the data's position needs no saving and a run resumes anywhere. From a cache that does not
    lie in memory, the batch of the next step is read ahead.

    Where images are decoded (`EncodedImages`), batches should be made while the step runs:
    `prefetch` has them made by threads of this process, `workers` by processes of their own
    (through Grain). Both give the same batches to the bit; asked for another step than the next
    one, they start again from there, which takes workers a few seconds. Worker processes import the
    program's main
    module: a script that uses them keeps what it does under `if __name__ == "__main__":`.

    Args:
      dataset: the examples. Their order makes no difference.
      views: rendered inside the step; here they say which partners to send along.
      batch_size: examples in a batch.
      seed: of the order.
      cache: an opened cache whose answers travel with the batch; checked against dataset and
        views here, before the first step.
      num_views: how many different views of an example there are; by default those of the cache,
        and a new one each epoch without.
      process: `(index, count)` of this process among those that share a batch, each reading its own
        stretch of it (`Partitioning.process`); by default those of `jax.distributed`. The examples
        of a step do not depend on it.
      prefetch: batches that are made ahead of the step; by default none, and two for each worker.
        Needs as much memory.
      workers: processes that make them, 0 for threads of this one.

    Raises:
      ImportError: `prefetch` or `workers` without Grain.
      ValueError: fewer examples than a batch, a batch that does not divide by the processes, or a
        cache that does not fit (`CacheError`).

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
        dataset: Examples,
        views: Views,
        batch_size: int,
        *,
        seed: int = 0,
        cache: CacheReader | None = None,
        num_views: int | None = None,
        process: tuple[int, int] | None = None,
        prefetch: int | None = None,
        workers: int = 0,
    ):
        process = process or (jax.process_index(), jax.process_count())
        if not 0 <= process[0] < process[1]:
            raise ValueError(f"process must be (index, count) with index < count, not {process}")
        if not 1 <= batch_size <= len(dataset):
            raise ValueError(
                f"a batch of {batch_size} cannot be drawn from {len(dataset)} examples; choose a "
                "batch_size between 1 and that"
            )
        if batch_size % process[1]:
            raise ValueError(
                f"a batch of {batch_size} cannot be shared evenly by {process[1]} processes: "
                "choose a batch_size that is a multiple"
            )
        if num_views is not None and num_views < 1:
            raise ValueError(f"num_views must be at least 1, not {num_views}")
        if cache is not None:
            cache.check(dataset=dataset, views=views, num_views=num_views)
            num_views = num_views or cache.num_views
        self.process = process
        self.dataset, self.views, self.batch_size = dataset, views, batch_size
        self.steps_per_epoch = len(dataset) // batch_size
        steps = _Steps(dataset, views, batch_size, seed, num_views, process)
        prefetch = 2 * workers if prefetch is None else prefetch
        self._raw: _Steps | Prefetcher = steps
        if prefetch or workers:
            self._raw = Prefetcher(steps, prefetch, workers)
        self._cache = cache
        self._reader: concurrent.futures.Executor | None = None
        if cache is not None and not cache.in_memory:
            self._reader = concurrent.futures.ThreadPoolExecutor(1)
        self._next: tuple[int, concurrent.futures.Future[dict[str, Any]]] | None = None

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step (this process's stretch of it), NumPy arrays on the host."""
        if self._reader is None:
            return self._batch(step)
        following, self._next = self._next, None
        # One thread makes all batches, so that they are made one after the other.
        if following is None or following[0] != step:
            following = step, self._reader.submit(self._batch, step)
        batch = following[1].result()
        self._next = step + 1, self._reader.submit(self._batch, step + 1)
        return batch

    def close(self) -> None:
        """Ends what reads ahead, worker processes first of all; the garbage collector does, too."""
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
        if self._cache is not None:
            batch["teacher"] = self._cache.read(batch["id"], int(batch["view"][0]))
        return batch


class _Steps:
    """Raw batches by step, without a cache's answers: the part that a worker process makes."""

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
        # Several threads may be here, so the pair is read once.
        order = self._order
        if order[0] != epoch:
            # NumPy promises the raw stream of a generator for good, its samplers' results not.
            draws = np.random.PCG64((self._seed, epoch)).random_raw(len(self._dataset))
            order = self._order = (epoch, self._dataset.ids[np.argsort(draws, kind="stable")])
        part, parts = self._process
        own = self._batch_size // parts
        start = index * self._batch_size + part * own
        ids = order[1][start : start + own]
        view = epoch % self._num_views if self._num_views else epoch
        return raw_batch(self._dataset, self._views, ids, np.full(len(ids), view, np.int32))


def raw_batch(
    dataset: Examples, views: Views, ids: np.ndarray, view: np.ndarray
) -> dict[str, np.ndarray]:
    """What `views.render` needs to make views of some examples.

    Args:
      dataset: where they are.
      views: whether they need partners.
      ids: example ids `[batch]`.
      view: view numbers `[batch]`.

    Returns:
      `"id"`, `"view"`, `"inputs"`, `"labels"`, the partners' inputs and labels where views mix, and
      where every token has a label, `"where"`, bool `[batch, length]`: False where it has none.

    Raises:
      ValueError: views that mix rows of tokens.
    """
    batch = {
        "id": np.asarray(ids, np.int32),
        "view": np.asarray(view, np.int32),
        "inputs": dataset.read(ids, view),
        "labels": dataset.labels[dataset.rows(ids)],
    }
    if batch["labels"].ndim > 1:
        batch["where"] = batch["labels"] >= 0
    if views.mixes:
        if dataset.token_mask(ids[:0]) is not None:
            raise ValueError(f"{views.transforms[-1]} mixes images; tokens cannot be mixed")
        partners = _partners(views, batch["id"], batch["view"], len(dataset))
        batch["partner_inputs"] = dataset.read(dataset.ids[partners], view)
        batch["partner_labels"] = dataset.labels[partners]
    return batch


def eval_batches(
    dataset: Examples, batch_size: int, *, prefetch: int = 0, workers: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """All examples once, in order of their ids, in batches of one size.

    Args:
      dataset: the examples.
      batch_size: the last batch is filled up with the first example, marked in `"where"`.
      prefetch: batches that are made ahead, as by a `Loader`.
      workers: processes that make them.

    Yields:
      Raw batches of view 0 with `"where"`, bool `[batch]`, False for filling; `[batch, length]`
      where every token has a label, False also where there is none.
    """
    batches = _InOrder(dataset, batch_size)
    if not prefetch and not workers:
        yield from map(batches.__getitem__, range(len(batches)))
        return
    with contextlib.closing(Prefetcher(batches, prefetch or 2 * workers, workers)) as prefetcher:
        yield from map(prefetcher.__getitem__, range(len(batches)))


class _InOrder:
    """The batches of `eval_batches` by number."""

    def __init__(self, dataset: Examples, batch_size: int):
        self._dataset, self._batch_size = dataset, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._dataset) / self._batch_size)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        dataset, size = self._dataset, self._batch_size
        ids = dataset.ids[index * size : (index + 1) * size]
        full = np.concatenate([ids, np.full(size - len(ids), dataset.ids[0], ids.dtype)])
        batch = raw_batch(dataset, Views(), full, np.zeros(size, np.int32))
        own = np.arange(size) < len(ids)
        batch["where"] = own[:, None] & batch["where"] if "where" in batch else own
        return batch


def _partners(views: Views, ids: np.ndarray, view: np.ndarray, pool: int) -> np.ndarray:
    # On the host's own processor, since the host gathers the partners: nothing crosses to it.
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to know of accelerators alone
        device = jax.local_devices()[0]
    with jax.default_device(device):
        return np.asarray(_drawer(views, pool)(ids, view))


@functools.lru_cache(maxsize=32)
def _drawer(views: Views, pool: int) -> Any:
    return jax.jit(lambda ids, view: views.partners(ids, view, pool))
