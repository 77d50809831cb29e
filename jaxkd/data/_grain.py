"""Examples for Grain, joined with a cache by id and view."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxkd.data._examples import Examples
from jaxkd.data._loader import CacheReader, raw_batch
from jaxkd.views import Views


class GrainSource:
    """A random-access source for Grain: every view of every example, with the teacher's answer.

    Element `v * len(dataset) + i` is view v of the i-th example, so shuffling, sharding and
    batching are Grain's, and a batch carries what `views.render` and the train step need. Reading
    many elements at once (`__getitems__`, which Grain calls where it can) asks the cache once for
    each view.

    Args:
      dataset: the examples.
      views: rendered inside the step; here they say which partners to send along.
      cache: an opened cache whose answers travel along as `"teacher"`; checked against dataset and
        views here.
      num_views: how many views of each example, by default those of the cache, and 1 without.

    Raises:
      ValueError: a number of views below 1, or a cache that does not fit (`CacheError`).

    Example:
      >>> import grain
      >>> from jaxkd.data import Dataset
      >>> data = Dataset.from_arrays(
      ...     np.arange(4, dtype=np.float32)[:, None], name="four", split="train", num_classes=2)
      >>> batches = grain.MapDataset.source(GrainSource(data, num_views=3)).shuffle(seed=0).batch(6)
      >>> len(batches), batches[0]["inputs"].shape, sorted(batches[0])
      (2, (6, 1), ['id', 'inputs', 'labels', 'view'])
    """

    def __init__(
        self,
        dataset: Examples,
        views: Views | None = None,
        *,
        cache: CacheReader | None = None,
        num_views: int | None = None,
    ):
        views = views or Views()
        if num_views is not None and num_views < 1:
            raise ValueError(f"num_views must be at least 1, not {num_views}")
        if cache is not None:
            cache.check(dataset=dataset, views=views, num_views=num_views)
            num_views = num_views or cache.num_views
        self._dataset, self._views, self._cache = dataset, views, cache
        self._num_views = num_views or 1

    def __len__(self) -> int:
        return len(self._dataset) * self._num_views

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One view of one example, without a batch axis."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several at once.

        Raises:
          IndexError: an index beyond the last element.
        """
        index = np.asarray(indices, np.int64)
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"indices must lie in [0, {len(self)}), not {indices}")
        view, row = np.divmod(index, max(1, len(self._dataset)))
        ids = self._dataset.ids[row]
        batch: dict[str, Any] = raw_batch(self._dataset, self._views, ids, view.astype(np.int32))
        elements = [{name: array[i] for name, array in batch.items()} for i in range(len(ids))]
        if self._cache is not None:
            for number in np.unique(view):
                places = np.flatnonzero(view == number)
                leaves, tree = jax.tree.flatten(self._cache.read(ids[places], int(number)))
                for at, place in enumerate(places):
                    elements[place]["teacher"] = jax.tree.unflatten(
                        tree, [leaf[at] for leaf in leaves]
                    )
        return elements
