"""Raw batches: what a step renders, for training and for evaluation."""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxkd.data._examples import Examples, integers
from jaxkd.data._fields import take
from jaxkd.data._labels import has_token_labels, of_batch
from jaxkd.data._prefetch import Prefetcher
from jaxkd.views import Views


def raw_batch(dataset: Examples, views: Views, ids: np.ndarray, view: np.ndarray) -> dict[str, Any]:
    """Reads what `views.render` needs to make views of some examples.

    Args:
      dataset: the examples.
      views: how they are rendered, which tells whether mixing partners are needed.
      ids: example ids `[batch]`.
      view: view numbers `[batch]`.

    Returns:
      `"id"`, `"view"`, `"inputs"`, `"labels"`, the partners' inputs and labels where views mix;
      where labels are values, `"labeled"`, bool `[batch]`: False, and the label 0, where it is NaN
      (by name where labels are); and where every token has a label, `"where"`, bool
      `[batch, length]`: False where it has none. Dictionaries of inputs and labels stay what they
      are.

    Raises:
      KeyError: ids that are not in the data set.
      TypeError: ids or views that are not integers.
      ValueError: view numbers outside of [0, 2**31), views that mix rows of tokens.

    Example:
      >>> from jaxkd.data import Dataset
      >>> data = Dataset.from_arrays(
      ...     np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 1], name="own", split="test", num_classes=2)
      >>> batch = raw_batch(data, Views(), np.array([2, 0]), np.zeros(2, np.int32))
      >>> sorted(batch), batch["labels"]
      (['id', 'inputs', 'labels', 'view'], array([1, 0], dtype=int32))
    """
    view = integers(view, "view")
    if view.size and not 0 <= view.min() <= view.max() < 2**31:
        raise ValueError(f"view must be in [0, 2**31), got {view.min()} to {view.max()}")
    rows = dataset.rows(ids)
    batch = {
        "id": dataset.ids[rows],
        "view": view.astype(np.int32),
        "inputs": dataset.read(ids, view),
        **of_batch(take(dataset.labels, rows)),
    }
    if has_token_labels(dataset):
        batch["where"] = batch["labels"] >= 0
    if views.mixes:
        if dataset.token_mask(dataset.ids[:0]) is not None:
            raise ValueError(f"{views.transforms[-1]} mixes images; tokens cannot be mixed")
        partners = _partners(views, batch["id"], batch["view"], len(dataset))
        batch["partner_inputs"] = dataset.read(dataset.ids[partners], view)
        known = of_batch(take(dataset.labels, partners))
        batch |= {f"partner_{name}": value for name, value in known.items()}
    return views.prepare(batch)


def eval_batches(
    dataset: Examples,
    batch_size: int,
    *,
    views: Views | None = None,
    prefetch: int = 0,
    workers: int = 0,
) -> Iterator[dict[str, Any]]:
    """Returns all examples once, in order of their ids, in batches of one size.

    Args:
      dataset: the examples.
      batch_size: examples in a batch; the last one is filled up with the first example, marked in
        `"where"`.
      views: views of the evaluation step, `make_eval_step(network, views=views)`, if they have
        transforms that run where examples are read, `jaxkd.views.OnHost`.
      prefetch: number of batches that are made ahead, as by a `Loader`.
      workers: number of processes that make them.

    Returns:
      An iterator over raw batches of view 0 with `"where"`, bool `[batch]`, False for filling;
      `[batch, length]` where every token has a label, False also where there is none. Its
      `dataset` is the data set.

    Example:
      >>> from jaxkd.data import Dataset
      >>> data = Dataset.from_arrays(
      ...     np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 1], name="own", split="test", num_classes=2)
      >>> [batch["where"].tolist() for batch in eval_batches(data, 2)]
      [[True, True], [True, False]]
    """
    batches = _InOrder(dataset, batch_size, Views() if views is None else views)
    return _EvalBatches(dataset, _in_order(batches, prefetch, workers))


class _EvalBatches(Iterator[dict[str, Any]]):
    """Batches, and the data set that they are of."""

    def __init__(self, dataset: Examples, batches: Iterator[dict[str, Any]]):
        self.dataset, self._batches = dataset, batches

    def __next__(self) -> dict[str, Any]:
        return next(self._batches)


def _in_order(batches: "_InOrder", prefetch: int, workers: int) -> Iterator[dict[str, Any]]:
    if not prefetch and not workers:
        yield from map(batches.__getitem__, range(len(batches)))
        return
    with contextlib.closing(Prefetcher(batches, prefetch or 2 * workers, workers)) as prefetcher:
        yield from map(prefetcher.__getitem__, range(len(batches)))


class _InOrder:
    """The batches of `eval_batches` by number."""

    def __init__(self, dataset: Examples, batch_size: int, views: Views):
        self._dataset, self._batch_size, self._views = dataset, batch_size, views

    def __len__(self) -> int:
        return math.ceil(len(self._dataset) / self._batch_size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        dataset, size = self._dataset, self._batch_size
        ids = dataset.ids[index * size : (index + 1) * size]
        full = np.concatenate([ids, np.full(size - len(ids), dataset.ids[0], ids.dtype)])
        # Without the partners of views that mix, with which nothing is evaluated.
        batch = self._views.prepare(raw_batch(dataset, Views(), full, np.zeros(size, np.int32)))
        own = np.arange(size) < len(ids)
        batch["where"] = own[:, None] & batch["where"] if "where" in batch else own
        return batch


def _partners(views: Views, ids: np.ndarray, view: np.ndarray, pool: int) -> np.ndarray:
    # On the host's own processor, since the host gathers the partners: no transfer is waited for.
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX is configured for accelerators alone
        device = jax.local_devices()[0]
    with jax.default_device(device):
        return np.asarray(_partner_fn(views, pool)(ids, view))


@functools.lru_cache(maxsize=32)
def _partner_fn(views: Views, pool: int) -> Any:
    return jax.jit(lambda ids, view: views.partners(ids, view, pool))
