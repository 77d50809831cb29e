"""Writing encoded records, in any order, from one process or several."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._blocks import Blocks
from jaxkd.cache._cache import Cache
from jaxkd.cache._identity import delete_other_identities
from jaxkd.cache._placement import Arrays
from jaxkd.cache._plan import BuildPlan, check_in_place

# A kill costs what was computed in this time at most.
_FLUSH_SECONDS = 30.0


class RecordWriter:
    """Writes encoded records by example id and view; what `build` and `Writer` have in common.

    Args:
      plan: where records are written.
      process: `(index, count)` of this writer among those that share the work.

    Attributes:
      plan: where records are written.
    """

    def __init__(self, plan: BuildPlan, process: tuple[int, int] = (0, 1)):
        self.plan = plan
        self._process = process
        self._blocks = Blocks(plan.segments, f"writer{process[0]}")
        # Names of files and entries that belong to the format: "answers" counts records.
        self._cost_name = f"effort/{process[0]}.json"
        self._cost = {"seconds": 0.0, "answers": 0}
        self._cost |= _store.read_document(plan.path, self._cost_name) or {}
        self._cost_before = dict(self._cost)
        self._since = time.monotonic()

    def remaining(self) -> int:
        """Number of records of this writer's share that have not been written."""
        return sum(len(self._blocks.missing_ids(*key)) for key in self._share())

    def missing(self, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
        """Yields the records that are missing: batches of ids, with the number of their view.

        First those of this writer's share; then, instead of waiting for them, those that the other
        writers have not written yet.

        Args:
          batch_size: examples at most.

        Yields:
          int32 ids `[n]` and the view.

        Raises:
          ValueError: a batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        requested = set()
        for share in (self._share, self._shares_of_others):
            for number, block in share():
                if (number, block) in requested or (number, block) not in self._blocks.missing:
                    continue
                requested.add((number, block))
                ids = self._blocks.missing_ids(number, block)
                for start in range(0, len(ids), batch_size):
                    yield ids[start : start + batch_size], block.view

    def write_records(self, ids: np.ndarray, view: int, arrays: Arrays) -> None:
        """Takes in encoded records.

        Args:
          ids: example ids `[n]`.
          view: number of the view.
          arrays: `<output>.<array>` → `[n, ...]`.

        Raises:
          CacheError: examples or a view that have no place in the cache.
        """
        self._cost["answers"] += self._blocks.put(ids, view, arrays)
        now = time.monotonic()
        self._cost["seconds"] += now - self._since
        self._since = now
        self._blocks.flush_if_older(_FLUSH_SECONDS)

    def flush(self) -> None:
        """Writes everything that has arrived to disk, incomplete blocks too.

        This happens by itself every half minute; call it where outputs are expensive.
        """
        self._blocks.flush()

    def stored(self, view: int) -> tuple[Arrays, np.ndarray]:
        """Returns all records of one view that have been written so far.

        Args:
          view: number of the view.

        Returns:
          `<output>.<array>` → `[examples, ...]` in the order of the data set's ids, and bool
          `[examples]`, where there is a record.
        """
        return self._blocks.stored(self.plan.contents.dataset.ids, view)

    def close(self) -> bool:
        """Writes what has arrived, and seals the cache if nothing is missing.

        Returns:
          Whether the cache is complete.

        Raises:
          CacheError: another cache has taken the place of this one in the meantime.
        """
        check_in_place(self.plan)
        complete = self._blocks.finish()
        if complete and (cache_id := self.plan.document.get("id")) is not None:
            delete_other_identities(self.plan.path, cache_id)
        if self._cost != self._cost_before:  # a complete cache may be one that is only read
            _store.write_document(self.plan.path, self._cost_name, self._cost)
        return complete

    def cache(self) -> Cache:
        """Opens the finished cache.

        Returns:
          The cache, bound to its data set and views.

        Raises:
          CacheError: records are missing.
        """
        contents = self.plan.contents
        cache = Cache(
            self.plan.path,
            codecs=[type(codec) for codec in contents.record_format.codecs.values()],
            document=self.plan.document,
        )
        return cache.bind(contents.dataset, contents.views, self.plan.allow)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _share(self) -> list[Any]:
        index, count = self._process
        # By its position, not by what is missing now: every writer must come to the same division,
        # whatever the others have written since.
        keys = sorted(self._blocks.missing, key=_position)
        return [key for key in keys if (key[1].view + key[1].index) % count == index]

    def _shares_of_others(self) -> list[Any]:
        if self._process[1] == 1:
            return []
        self._blocks.refresh()
        left = sorted(self._blocks.missing, key=_position)
        # Each begins at another block, so that two do not compute the same ones in step.
        start = len(left) * self._process[0] // self._process[1]
        return left[start:] + left[:start]


def _position(key: Any) -> tuple[int, int, int]:
    number, block = key
    return number, block.view, block.index
