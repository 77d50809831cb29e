"""Blocks under construction: records arrive in any order until a block of them is complete."""

import dataclasses
import io
import re
import time
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxkd.cache import _location, _store
from jaxkd.cache._contract import CacheError
from jaxkd.cache._placement import Arrays, Block
from jaxkd.cache._segment import Segment
from jaxkd.cache._shard import ShardTag, tag_in

# Writes that may be in flight: each of them holds a block in memory.
_MAX_PENDING = 2


@dataclasses.dataclass
class _PartialBlock:
    """The records of a block that have arrived so far.

    Attributes:
      arrays: `<output>.<array>` → `[examples, ...]`, zeros where nothing has arrived.
      received: bool `[examples]`.
      changed: whether records arrived since the block was last saved.
    """

    arrays: Arrays
    received: np.ndarray
    changed: bool = False

    def put(self, rows: np.ndarray, arrays: Arrays, selection: np.ndarray) -> None:
        for name, value in arrays.items():
            self.arrays[name][rows] = value[selection]
        self.received[rows] = True
        self.changed = True


@dataclasses.dataclass(frozen=True)
class _PendingWrite:
    """A block that TensorStore is writing.

    Attributes:
      futures: one for each array.
      partial_files: name prefix of the files that the block makes superfluous.
      segment: where the block belongs.
      size: number of bytes of its records.
    """

    futures: list[Any]
    partial_files: str
    segment: Segment
    size: int


class Blocks:
    """Collects records of the segments of a cache and writes each block that is complete.

    A file of the cache holds a whole block, and files are never rewritten, so records wait in
    memory until their block is complete. What would be lost with the process is saved from time to
    time (`flush`) in a file of its own for each block and writer; the next writer reads these files
    and goes on from them. Several writers may each have received a part of one block: none of them
    needs to know of the others, since the parts are united when they are read.

    Args:
      found: the segments.
      writer: name of this writer among those that work at the same time.

    Attributes:
      missing: (number of the segment, block) of all blocks that are not in their files yet.
    """

    def __init__(self, found: list[Segment], writer: str):
        self._segments, self._writer = found, writer
        self._partial: dict[tuple[int, Block], _PartialBlock] = {}
        self._pending: list[_PendingWrite] = []
        # Blocks of which there are partial files, to be deleted once the block is written.
        self._saved_partially: set[str] = set()
        self._last_flush = time.monotonic()
        self.missing: set[tuple[int, Block]] = set()
        self.refresh()

    def missing_ids(self, number: int, block: Block) -> np.ndarray:
        """Ids of the examples of a block whose records have not arrived."""
        segment = self._segments[number]
        ids = segment.ids[segment.rows(block.index)]
        partial = self._partial.get((number, block))
        return ids if partial is None else ids[~partial.received]

    def put(self, ids: np.ndarray, view: int, arrays: Arrays) -> int:
        """Takes in records of one view.

        Args:
          ids: example ids `[n]`.
          view: number of the view.
          arrays: `<output>.<array>` → `[n, ...]`.

        Returns:
          How many of them had not arrived before.

        Raises:
          CacheError: an id that no segment holds in this view.
        """
        known = np.zeros(len(ids), bool)
        new = 0
        for number, segment in enumerate(self._segments):
            if not segment.has_view(view):
                continue
            rows = np.minimum(np.searchsorted(segment.ids, ids), len(segment.ids) - 1)
            matched = segment.ids[rows] == ids
            known |= matched
            for index in np.unique(rows[matched] // segment.block_size):
                block = Block(view, int(index))
                # A complete block is not computed again: two teachers' roundings would mix.
                if (number, block) not in self.missing:
                    continue
                chosen = np.flatnonzero(matched & (rows // segment.block_size == index))
                partial = self._partial_block(number, block)
                before = int(partial.received.sum())
                partial.put(rows[chosen] - segment.rows(block.index).start, arrays, chosen)
                new += int(partial.received.sum()) - before
                if partial.received.all():
                    self._write(number, block)
        if not known.all():
            raise CacheError(
                f"{int((~known).sum())} of {len(ids)} records have no place in the cache, ids "
                f"{ids[~known][:5].tolist()} in view {view} first"
            )
        return new

    def stored(self, ids: np.ndarray, view: int) -> tuple[Arrays, np.ndarray]:
        """Everything that has arrived of one view.

        Args:
          ids: example ids `[n]`, ascending, all those of the segments among them.
          view: number of the view.

        Returns:
          Arrays `[n, ...]` with zeros where nothing has arrived, and bool `[n]`, where it has.
        """
        layout = self._segments[0].layout
        received = np.zeros(len(ids), bool)
        arrays = {n: np.zeros((len(ids), *s), jnp.dtype(d)) for n, (s, d) in layout.items()}
        for number, segment in enumerate(self._segments):
            if not segment.has_view(view):
                continue
            for index in range(segment.blocks):
                block, rows = Block(view, index), segment.rows(index)
                if (partial := self._partial.get((number, block))) is not None:
                    present, values = partial.received, partial.arrays
                elif (number, block) in self.missing:
                    continue
                else:
                    present = np.ones(rows.stop - rows.start, bool)
                    values = segment.read(view, rows).arrays()
                positions = np.searchsorted(ids, segment.ids[rows][present])
                received[positions] = True
                for name, value in values.items():
                    arrays[name][positions] = value[present]
        return arrays, received

    def flush(self) -> None:
        """Saves incomplete blocks on disk and waits for all writes in flight."""
        for (number, block), partial in self._partial.items():
            if partial.changed:
                buffer = io.BytesIO()
                raw = {name: _raw(array) for name, array in partial.arrays.items()}
                segment = self._segments[number]
                tag = np.frombuffer(_partial_tag(segment, block), np.uint8)
                np.savez(buffer, have=partial.received, tag=tag, **raw)  # type: ignore[arg-type]
                files = _partial_files(segment, block)
                _store.write_bytes(segment.path, f"{files}{self._writer}.npz", buffer.getvalue())
                partial.changed = False
                self._saved_partially.add(files)
        self._wait(0)
        self._last_flush = time.monotonic()

    def flush_if_older(self, seconds: float) -> None:
        """Flushes if the last time is longer ago."""
        if time.monotonic() - self._last_flush > seconds:
            self.flush()

    def finish(self) -> bool:
        """Writes everything, unites it with what other writers saved, seals complete segments.

        Returns:
          Whether the cache is complete.
        """
        self.flush()
        self.refresh()
        self._wait(0)  # for the blocks that became complete with what others had saved
        complete = True
        for number, segment in enumerate(self._segments):
            if any(key[0] == number for key in self.missing):
                complete = False
            else:
                if not segment.sealed:
                    segment.seal()
                # Also of a writer that was killed, or came with the rest of a block too late.
                for name in _store.names(segment.path, f"{segment.folder}partial/"):
                    _store.write_bytes(segment.path, name, None)
        return complete

    def refresh(self) -> None:
        """Reads from disk what other writers have done in the meantime."""
        self._wait(0)
        self.missing = {
            (number, block)
            for number, segment in enumerate(self._segments)
            for block in segment.missing()
        }
        for key in set(self._partial) - self.missing:
            del self._partial[key]
        self._read_partial_files()

    def _partial_block(self, number: int, block: Block) -> _PartialBlock:
        key = (number, block)
        if key not in self._partial:
            segment = self._segments[number]
            rows = segment.rows(block.index)
            length = rows.stop - rows.start
            arrays = {
                name: np.zeros((length, *shape), jnp.dtype(dtype))
                for name, (shape, dtype) in segment.layout.items()
            }
            self._partial[key] = _PartialBlock(arrays, np.zeros(length, bool))
        return self._partial[key]

    def _write(self, number: int, block: Block) -> None:
        """Begins to write a complete block, in the background."""
        segment, partial = self._segments[number], self._partial.pop((number, block))
        self.missing.discard((number, block))
        self._wait(_MAX_PENDING)
        futures = segment.write(block, partial.arrays)
        size = sum(array.nbytes for array in partial.arrays.values())
        self._pending.append(_PendingWrite(futures, _partial_files(segment, block), segment, size))

    def _wait(self, limit: int) -> None:
        """Waits until at most so many writes are in flight; deletes what they make superfluous."""
        while len(self._pending) > limit:
            write = self._pending.pop(0)
            for future in write.futures:
                _location.result(future, write.segment.path, write.size)
            # Only now: until the block is in its file, the partial files are all there is of it.
            if write.partial_files in self._saved_partially:
                self._saved_partially.discard(write.partial_files)
                for name in _store.names(write.segment.path, write.partial_files):
                    _store.write_bytes(write.segment.path, name, None)

    def _read_partial_files(self) -> None:
        """Takes in what writers, this one among them, saved of blocks that are missing."""
        for number, segment in enumerate(self._segments):
            for name in _store.names(segment.path, f"{segment.folder}partial/"):
                place = name.removeprefix(f"{segment.folder}partial/")
                if not (found := re.fullmatch(r"(\d+)/(\d+)/[^/]*\.npz", place)):
                    continue  # left from a write that was cut short, or of somebody else
                block = Block(int(found[1]), int(found[2]))
                # None: another writer has deleted the file since its name was listed.
                content = _store.read_bytes(segment.path, name)
                if (number, block) not in self.missing or content is None:
                    continue
                self._saved_partially.add(_partial_files(segment, block))
                arrays, received = _parsed(segment, block, name, content)
                rows = np.flatnonzero(received)
                partial = self._partial_block(number, block)
                partial.put(rows, arrays, rows)
                if partial.received.all():
                    self._write(number, block)


def _partial_tag(segment: Segment, block: Block) -> bytes:
    """What a file of some records of a block carries of its place."""
    assert segment.cache_id is not None  # nothing is written to format 2
    return ShardTag(
        segment.cache_id, segment.name, "partial", *dataclasses.astuple(block)
    ).to_bytes()


def _parsed(segment: Segment, block: Block, name: str, content: bytes) -> tuple[Arrays, np.ndarray]:
    """The arrays of a partial file, and which of its rows were received."""
    try:
        with np.load(io.BytesIO(content)) as stored:
            arrays = {
                n: stored[n].view(jnp.dtype(dtype)) for n, (_, dtype) in segment.layout.items()
            }
            received, tag = stored["have"], stored["tag"].tobytes()
    except Exception as error:  # zipfile has many ways of saying that a byte is wrong
        raise CacheError(
            f"the cache {segment.path} is damaged: {name} cannot be read ({error}). "
            "Delete it and build again: what it held is computed anew."
        ) from error
    if tag != _partial_tag(segment, block):
        raise CacheError(
            f"the cache {segment.path} is damaged: {name} is {tag_in(tag) or 'of no known place'}, "
            f"where {tag_in(_partial_tag(segment, block))} belongs. Delete it and build again: "
            "what it held is computed anew."
        )
    return arrays, received


def _partial_files(segment: Segment, block: Block) -> str:
    return f"{segment.folder}partial/{block.view}/{block.index}/"


def _raw(array: np.ndarray) -> np.ndarray:
    # NumPy's files do not know bfloat16.
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array
