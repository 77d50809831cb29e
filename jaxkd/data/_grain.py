"""Examples for Grain, joined with a cache by id and view."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxkd.data._batches import raw_batch
from jaxkd.data._examples import Examples, integers
from jaxkd.data._fields import take
from jaxkd.data._loader import CacheReader, checked_inputs
from jaxkd.views import Views


class GrainSource:
    """A random-access source for Grain: every view of every example, with cached outputs.

    Element `v * len(dataset) + i` is view v of the i-th example, so shuffling, sharding and
    batching are Grain's, and a batch carries what `views.render` and the train step need. Reading
    many elements at once (`__getitems__`, which Grain calls where it can) reads the cache once for
    each view.

    Args:
      dataset: the examples, by default those of the cache.
      views: how they are rendered inside the step, by default those of the cache, and unchanged
        without one; here they say which partners to send along.
      cache: an opened cache whose encoded outputs become `"teacher"`; checked against dataset and
        views here.
      num_views: number of views of each example, by default those of the cache, and 1 without.

    Raises:
      ValueError: no data set, a number of views below 1, or a cache that does not fit
        (`CacheError`).

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
        dataset: Examples | None = None,
        views: Views | None = None,
        *,
        cache: CacheReader | None = None,
        num_views: int | None = None,
    ):
        dataset, views, num_views = checked_inputs(dataset, views, cache, num_views)
        self._dataset, self._views, self._cache = dataset, views, cache
        self._num_views = num_views or 1

    def __len__(self) -> int:
        return len(self._dataset) * self._num_views

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns one view of one example, without a batch axis."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Returns several elements at once.

        Args:
          indices: numbers of the elements.

        Raises:
          IndexError: an index beyond the last element.
          TypeError: indices that are not integers.
        """
        index = integers(indices, "indices").astype(np.int64)
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"indices must lie in [0, {len(self)}), not {indices}")
        view, row = np.divmod(index, max(1, len(self._dataset)))
        ids = self._dataset.ids[row]
        batch: dict[str, Any] = raw_batch(self._dataset, self._views, ids, view.astype(np.int32))
        elements = [take(batch, i) for i in range(len(ids))]
        if self._cache is not None:
            for number in np.unique(view):
                positions = np.flatnonzero(view == number)
                leaves, tree = jax.tree.flatten(self._cache.read(ids[positions], int(number)))
                for index_in_view, position in enumerate(positions):
                    elements[position]["teacher"] = jax.tree.unflatten(
                        tree, [leaf[index_in_view] for leaf in leaves]
                    )
        return elements
