"""Blocks under way: records that have come in, in any order, until a block of them is complete."""

import dataclasses
import io
import time
from typing import Any

import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError
from jaxkd.cache._segment import Block, Segment

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class _Open:
    arrays: Arrays
    have: np.ndarray
    changed: bool = False

    def put(self, rows: np.ndarray, arrays: Arrays, selection: Any) -> None:
        for name, value in arrays.items():
            self.arrays[name][rows] = value[selection]
        self.have[rows] = True
        self.changed = True


class Blocks:
    """Collects records of the segments of a cache and writes each block that is complete.

    A block that is not complete can be put aside (`flush`) in a file of its own, from which the
    next writer takes it up; several writers may each have a part of a block.

    Args:
      found: the segments.
      writer: name of this writer among those that work at the same time.
    """

    def __init__(self, found: list[Segment], writer: str):
        self._segments, self._writer = found, writer
        self._open: dict[tuple[int, Block], _Open] = {}
        self._writing: list[tuple[list[Any], str, Segment]] = []
        self._asides: set[str] = set()
        self._flushed = time.monotonic()
        self.missing: set[tuple[int, Block]] = set()
        self.refresh()

    def wanted(self, segment: int, block: Block) -> np.ndarray:
        """Ids of a block that have not come in."""
        found = self._segments[segment]
        ids = found.ids[found.rows(block.index)]
        begun = self._open.get((segment, block))
        return ids if begun is None else ids[~begun.have]

    def put(self, ids: np.ndarray, view: int, arrays: Arrays) -> int:
        """Takes in records of one view; returns how many were new.

        Raises:
          CacheError: an id that no segment holds in this view.
        """
        placed = np.zeros(len(ids), bool)
        new = 0
        for number, segment in enumerate(self._segments):
            if not segment.first_view <= view < segment.first_view + segment.num_views:
                continue
            rows = np.minimum(np.searchsorted(segment.ids, ids), len(segment.ids) - 1)
            here = segment.ids[rows] == ids
            placed |= here
            for index in np.unique(rows[here] // segment.block_size):
                block = Block(view, int(index))
                if (number, block) not in self.missing:
                    continue
                chosen = np.flatnonzero(here & (rows // segment.block_size == index))
                begun = self._begin(number, block)
                before = int(begun.have.sum())
                begun.put(rows[chosen] - segment.rows(block.index).start, arrays, chosen)
                new += int(begun.have.sum()) - before
                if begun.have.all():
                    self._finish(number, block)
        if not placed.all():
            raise CacheError(
                f"{int((~placed).sum())} of {len(ids)} answers have no place in the cache, ids "
                f"{ids[~placed][:5].tolist()} in view {view} first"
            )
        return new

    def table(self, ids: np.ndarray, view: int) -> tuple[Arrays, np.ndarray]:
        """What there is of one view: arrays `[ids, ...]` with zeros elsewhere, and where it is."""
        layout = self._segments[0].layout
        have = np.zeros(len(ids), bool)
        arrays = {n: np.zeros((len(ids), *s), _dtype(d)) for n, (s, d) in layout.items()}
        for number, segment in enumerate(self._segments):
            if not segment.first_view <= view < segment.first_view + segment.num_views:
                continue
            for index in range(segment.blocks):
                block, rows = Block(view, index), segment.rows(index)
                key = number, block
                if key in self._open:
                    there, values = self._open[key].have, self._open[key].arrays
                elif key in self.missing:
                    continue
                else:
                    there = np.ones(rows.stop - rows.start, bool)
                    futures = segment.read(view, rows)
                    values = {n: _store.read_rows(segment.path, n, f) for n, f in futures.items()}
                places = np.searchsorted(ids, segment.ids[rows][there])
                have[places] = True
                for name, value in values.items():
                    arrays[name][places] = value[there]
        return arrays, have

    def flush(self) -> None:
        """Puts incomplete blocks aside on disk and waits for all that is being written."""
        for (number, block), begun in self._open.items():
            if begun.changed:
                buffer = io.BytesIO()
                raw = {name: _raw(array) for name, array in begun.arrays.items()}
                np.savez(buffer, have=begun.have, **raw)  # type: ignore[arg-type]
                segment = self._segments[number]
                name = f"{_aside(segment, block)}{self._writer}.npz"
                _store.write_bytes(segment.path, name, buffer.getvalue())
                begun.changed = False
                self._asides.add(_aside(segment, block))
        self._wait(0)
        self._flushed = time.monotonic()

    def flush_if_older(self, seconds: float) -> None:
        """Flushes if the last time is longer ago."""
        if time.monotonic() - self._flushed > seconds:
            self.flush()

    def settle(self) -> bool:
        """Writes all, joins what others put aside, seals the segments that are complete.

        Returns:
          Whether the cache is complete.
        """
        self.flush()
        self.refresh()
        self._wait(0)  # for the blocks that became complete with what others had put aside
        complete = True
        for number, segment in enumerate(self._segments):
            if any(key[0] == number for key in self.missing):
                complete = False
            elif not segment.sealed:
                segment.seal()
                for name in _store.names(segment.path, f"{segment.folder}partial/"):
                    _store.write_bytes(segment.path, name, None)
        return complete

    def refresh(self) -> None:
        """Looks what other writers have done in the meantime."""
        self._wait(0)
        self.missing = {(n, block) for n, s in enumerate(self._segments) for block in s.missing()}
        for key in set(self._open) - self.missing:
            del self._open[key]
        self._take_up()

    def _begin(self, number: int, block: Block) -> _Open:
        key = (number, block)
        if key not in self._open:
            segment = self._segments[number]
            rows = segment.rows(block.index)
            length = rows.stop - rows.start
            arrays = {
                name: np.zeros((length, *shape), _dtype(dtype))
                for name, (shape, dtype) in segment.layout.items()
            }
            self._open[key] = _Open(arrays, np.zeros(length, bool))
        return self._open[key]

    def _finish(self, number: int, block: Block) -> None:
        segment, begun = self._segments[number], self._open.pop((number, block))
        self.missing.discard((number, block))
        self._wait(2)  # what is being written is held in memory
        self._writing.append((segment.write(block, begun.arrays), _aside(segment, block), segment))

    def _wait(self, left: int) -> None:
        while len(self._writing) > left:
            futures, aside, segment = self._writing.pop(0)
            for future in futures:
                future.result()
            if aside in self._asides:
                self._asides.discard(aside)
                for name in _store.names(segment.path, aside):
                    _store.write_bytes(segment.path, name, None)

    def _take_up(self) -> None:
        """Reads what writers put aside of blocks that are missing."""
        for number, segment in enumerate(self._segments):
            for name in _store.names(segment.path, f"{segment.folder}partial/"):
                if not name.endswith(".npz"):
                    continue  # left from a write that was cut short
                where = name.removeprefix(f"{segment.folder}partial/").split("/")
                block = Block(int(where[0]), int(where[1]))
                value = _store.read_bytes(segment.path, name)
                if (number, block) not in self.missing or value is None:
                    continue
                self._asides.add(_aside(segment, block))
                try:
                    with np.load(io.BytesIO(value)) as stored:
                        have = stored["have"]
                        arrays = {
                            n: stored[n].view(_dtype(dtype))
                            for n, (_, dtype) in segment.layout.items()
                        }
                except Exception as error:  # zipfile has many ways of saying that a byte is wrong
                    raise CacheError(
                        f"the cache {segment.path} is damaged: {name} cannot be read ({error}). "
                        "Delete it and build again: what it held is computed anew."
                    ) from error
                rows = np.flatnonzero(have)
                begun = self._begin(number, block)
                begun.put(rows, arrays, rows)
                if begun.have.all():
                    self._finish(number, block)


def _aside(segment: Segment, block: Block) -> str:
    return f"{segment.folder}partial/{block.view}/{block.index}/"


def _raw(array: np.ndarray) -> np.ndarray:
    # NumPy's files do not know bfloat16.
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _dtype(name: str) -> np.dtype:
    import jax.numpy as jnp

    return np.dtype(jnp.dtype(name))
