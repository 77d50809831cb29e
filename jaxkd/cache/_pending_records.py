"""Records of one view that are being read, from whichever segments hold them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxkd.cache._placement import Arrays, PendingRead
from jaxkd.cache._segment import Segment
from jaxkd.targets import Layout


@dataclasses.dataclass(frozen=True)
class PendingRecords:
    """Records of one view that are being read.

    Attributes:
      count: number of records.
      layout: array name → (shape of a record, dtype name).
      parts: for each segment that holds some the positions among the records, and the read.
    """

    count: int
    layout: Layout
    parts: list[tuple[np.ndarray, PendingRead]]

    def arrays(self) -> Arrays:
        """Waits for the records.

        Returns:
          `<output>.<array>` → `[count, ...]`.

        Raises:
          CacheError: a file that is damaged, gone or not the one that belongs there.
        """  # noqa: DOC502 - of `PendingRead.arrays`
        parts = [(positions, pending.arrays()) for positions, pending in self.parts]
        if len(parts) == 1 and len(parts[0][0]) == self.count:
            return parts[0][1]  # all of one segment: nothing to copy
        arrays = {
            name: np.empty((self.count, *shape), dtype)
            for name, (shape, dtype) in self.layout.items()
        }
        for positions, part in parts:
            for name, array in part.items():
                arrays[name][positions] = array
        return arrays


def begin_read(segments: Sequence[Segment], ids: np.ndarray, view: int) -> PendingRecords:
    """Begins to read the records of some examples.

    Args:
      segments: at least one; together they hold the examples.
      ids: example ids `[n]`, in any order, repeats allowed.
      view: number of the view.

    Returns:
      What can be waited for.
    """
    parts = []
    for segment in segments:
        if not segment.has_view(view):
            continue
        rows = np.minimum(np.searchsorted(segment.ids, ids), len(segment.ids) - 1)
        positions = np.flatnonzero(segment.ids[rows] == ids)
        if positions.size:
            parts.append((positions, segment.read(view, _contiguous(rows[positions]))))
    return PendingRecords(len(ids), segments[0].layout, parts)


def _contiguous(rows: np.ndarray) -> Any:
    """A slice where the rows follow each other, which is read much faster than an index."""
    if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
