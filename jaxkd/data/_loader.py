"""Batches: a pure function of the step number, joined with a cache by example id and view."""

import concurrent.futures
import functools
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np

from jaxkd.data._dataset import Dataset
from jaxkd.views import Views


class Answers(Protocol):
    """What a loader asks of a cache."""

    num_views: int
    in_memory: bool

    def check(self, *, dataset: Dataset, views: Views, num_views: int | None) -> None:
        """Refuses another data set or other views."""

    def read(self, ids: np.ndarray, view: int) -> Any:
        """Records by id."""


class Loader:
    """Raw training batches by step number: `loader[step]`.

    An epoch is a permutation drawn from `(seed, epoch)`; what does not fill a batch at its end
    is left for the next epoch's draw. Epoch e shows view `e % num_views`. Being a function of the
    step, the data's position needs no saving and a run resumes anywhere. From a cache that does not
    lie in memory, the batch of the next step is read ahead.

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

    Raises:
      ValueError: fewer examples than a batch, a batch that does not divide by the processes, or a
        cache that does not fit (`CacheError`).

    Example:
      >>> data = Dataset.from_arrays(
      ...     np.arange(5, dtype=np.float32)[:, None], name="five", split="train", num_classes=2)
      >>> loader = Loader(data, Views(), 2)
      >>> sorted(loader[0]), loader[0]["inputs"].shape, loader.steps_per_epoch
      (['id', 'inputs', 'labels', 'view'], (2, 1), 2)
    """

    def __init__(
        self,
        dataset: Dataset,
        views: Views,
        batch_size: int,
        *,
        seed: int = 0,
        cache: Answers | None = None,
        num_views: int | None = None,
        process: tuple[int, int] | None = None,
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
        self._seed, self._cache, self._num_views = seed, cache, num_views
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))
        self._reader: concurrent.futures.Executor | None = None
        if cache is not None and not cache.in_memory:
            self._reader = concurrent.futures.ThreadPoolExecutor(1)
        self._ahead: tuple[int, concurrent.futures.Future[dict[str, Any]]] | None = None

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step (this process's stretch of it), NumPy arrays on the host."""
        if self._reader is None:
            return self._batch(step)
        ahead, self._ahead = self._ahead, None
        # One thread makes all batches, so that they are made one after the other.
        if ahead is None or ahead[0] != step:
            ahead = step, self._reader.submit(self._batch, step)
        batch = ahead[1].result()
        self._ahead = step + 1, self._reader.submit(self._batch, step + 1)
        return batch

    def _batch(self, step: int) -> dict[str, Any]:
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            # NumPy promises the raw stream of a generator for good, its samplers' results not.
            draws = np.random.PCG64((self._seed, epoch)).random_raw(len(self.dataset))
            self._order = (epoch, self.dataset.ids[np.argsort(draws, kind="stable")])
        part, parts = self.process
        own = self.batch_size // parts
        start = index * self.batch_size + part * own
        ids = self._order[1][start : start + own]
        view = epoch % self._num_views if self._num_views else epoch
        batch = raw_batch(self.dataset, self.views, ids, np.full(len(ids), view, np.int32))
        if self._cache is not None:
            batch["teacher"] = self._cache.read(ids, view)
        return batch


def raw_batch(
    dataset: Dataset, views: Views, ids: np.ndarray, view: np.ndarray
) -> dict[str, np.ndarray]:
    """What `views.render` needs to make views of some examples.

    Args:
      dataset: where they are.
      views: whether they need partners.
      ids: example ids `[batch]`.
      view: view numbers `[batch]`.

    Returns:
      `"id"`, `"view"`, `"inputs"`, `"labels"`, and the partners' inputs and labels where views mix.
    """
    rows = dataset.rows(ids)
    batch = {
        "id": np.asarray(ids, np.int32),
        "view": np.asarray(view, np.int32),
        "inputs": dataset.inputs[rows],
        "labels": dataset.labels[rows],
    }
    if views.mixes:
        partners = _partners(views, batch["id"], batch["view"], len(dataset))
        batch["partner_inputs"] = dataset.inputs[partners]
        batch["partner_labels"] = dataset.labels[partners]
    return batch


def eval_batches(dataset: Dataset, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """All examples once, in order of their ids, in batches of one size.

    Args:
      dataset: the examples.
      batch_size: the last batch is filled up with the first example, marked in `"where"`.

    Yields:
      Raw batches of view 0 with `"where"`, bool `[batch]`, False for filling.
    """
    for start in range(0, len(dataset), batch_size):
        ids = dataset.ids[start : start + batch_size]
        where = np.arange(batch_size) < len(ids)
        full = np.concatenate([ids, np.full(batch_size - len(ids), dataset.ids[0], ids.dtype)])
        rows = dataset.rows(full)
        yield {
            "id": full,
            "view": np.zeros(batch_size, np.int32),
            "inputs": dataset.inputs[rows],
            "labels": dataset.labels[rows],
            "where": where,
        }


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
