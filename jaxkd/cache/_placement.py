"""Reading files of records as what they should be: each must carry the tag of its place."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError
from jaxkd.cache._shard import ShardTag, tag_in

if TYPE_CHECKING:
    from jaxkd.cache._segment import Segment

Arrays = dict[str, np.ndarray]
"""`<output>.<array>` → array, records first."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive examples of one view: what is written at once, and computed again if it is lost.

    Attributes:
      view: number of the view within the cache.
      index: which block of examples.
    """

    view: int
    index: int


@dataclasses.dataclass(frozen=True)
class MisplacedShard:
    """A file of records that does not carry the tag of its place.

    Attributes:
      path: path of the cache.
      name: name of the file.
      array: name of the array.
      block: which block it should be.
      missing: whether there is no file.
      wanted: the place that it should name.
      found: the place that it names; None if it names none.
    """

    path: str
    name: str
    array: str
    block: Block
    missing: bool
    wanted: ShardTag
    found: ShardTag | None

    @property
    def is_foreign(self) -> bool:
        """Whether the file is known to belong elsewhere."""
        return self.found not in (None, self.wanted)

    def __str__(self) -> str:
        if self.missing:
            what = f"{self.name} is missing"
        elif self.is_foreign:
            what = f"the file {self.name} is {self.found}, where {self.wanted} belongs"
        else:
            what = f"the file {self.name} does not say in whole which block it is"
        remedy = "Build" if self.missing else "Delete that file and build"
        return (
            f"the cache {self.path} is damaged in the array {self.array!r}: {what}. {remedy} "
            "again with the same arguments: only that block is computed anew."
        )


@dataclasses.dataclass(frozen=True)
class PendingTag:
    """The end of a file that is being read.

    Attributes:
      array: name of the array.
      block: which block it should be.
      future: the bytes from the tag on.
    """

    array: str
    block: Block
    future: Any


class PlacementCheck:
    """Checks the tags of the files of a segment, of each once, when it is first read.

    Args:
      segment: whose files.
    """

    def __init__(self, segment: "Segment"):
        self._segment = segment
        # Blocks whose tags were right, in every array; in format 2 there is nothing to check.
        self._right = np.full((segment.num_views, segment.blocks), segment.cache_id is None)

    def begin(self, view: int, rows: Any) -> list[PendingTag]:
        """Begins to read the tags of the files that hold some rows.

        Args:
          view: number of the view.
          rows: a slice, or integers in any order.

        Returns:
          One for each array and block that has not been found right before.
        """
        segment = self._segment
        right = self._right[view - segment.first_view]
        if right.all():
            return []
        if isinstance(rows, slice):
            touched = np.arange(
                rows.start // segment.block_size, -(-rows.stop // segment.block_size)
            )
        else:
            touched = np.unique(np.asarray(rows) // segment.block_size)
        return self._begin([Block(view, int(index)) for index in touched[~right[touched]]])

    def misplaced(self, blocks: Sequence[Block]) -> list[MisplacedShard]:
        """Finds the files of blocks that are not what belongs there.

        Args:
          blocks: blocks whose files are there.

        Returns:
          The files that do not carry the tag of their place.
        """
        first = self._segment.first_view
        new = [block for block in blocks if not self._right[block.view - first, block.index]]
        found = [bad for tag in self._begin(new) if (bad := self.compare(tag)) is not None]
        self.note_right(set(new) - {bad.block for bad in found})
        return found

    def note_right(self, blocks: Iterable[Block]) -> None:
        """Remembers blocks whose tags were right in every array."""
        for block in blocks:
            self._right[block.view - self._segment.first_view, block.index] = True

    def compare(self, tag: PendingTag) -> MisplacedShard | None:
        """Compares the end of a file with the tag that it should carry; None if it does."""
        segment, name, block = self._segment, tag.array, tag.block
        wanted = segment.tag(name, block)
        assert wanted is not None
        try:
            found = tag.future.result()
            if found.state == "value" and bytes(found.value).startswith(wanted.to_bytes()):
                return None
        except ValueError:
            pass  # shorter than a tag
        # Anywhere in the file: the index of another shard may be of another length.
        file = segment.shard(name, block)
        content = _store.read_bytes(segment.path, file)
        missing, carried = content is None, tag_in(content or b"")
        return MisplacedShard(segment.path, file, name, block, missing, wanted, carried)

    def _begin(self, blocks: Sequence[Block]) -> list[PendingTag]:
        if not blocks:
            return []
        segment, begun = self._segment, []
        store = _store.files(segment.path)
        for name in segment.layout:
            index = segment.index_bytes(name)
            for block in blocks:
                tag = segment.tag(name, block)
                assert tag is not None
                end = slice(-len(tag.to_bytes()) - index, None)
                future = store.read(segment.shard(name, block), byte_range=end)
                begun.append(PendingTag(name, block, future))
        return begun


@dataclasses.dataclass(frozen=True)
class PendingRead:
    """Rows of a segment that are being read.

    Attributes:
      placement: check of the segment's files.
      path: path of the cache.
      futures: array → rows.
      tags: ends of the files that had not been read before.
    """

    placement: PlacementCheck
    path: str
    futures: dict[str, Any]
    tags: list[PendingTag]

    def array(self, name: str) -> np.ndarray:
        """Waits for one array.

        Args:
          name: name of the array.

        Returns:
          The rows.

        Raises:
          CacheError: a file that is damaged, gone or not the one that belongs there.
        """
        for tag in self.tags:
            if tag.array == name and (bad := self.placement.compare(tag)) is not None:
                raise CacheError(str(bad))
        return _store.read_rows(self.path, name, self.futures[name])

    def arrays(self) -> Arrays:
        """Waits for all arrays; see `array`."""
        arrays = {name: self.array(name) for name in self.futures}
        self.placement.note_right(tag.block for tag in self.tags)
        return arrays
