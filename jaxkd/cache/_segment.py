"""A segment: the records of some examples in consecutive views, in blocks of one file each."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError, of_ids
from jaxkd.cache._example_digests import ExampleDigests
from jaxkd.cache._placement import Arrays, Block, PendingRead, PlacementCheck
from jaxkd.cache._shard import ShardTag, index_bytes, with_tag
from jaxkd.targets import Layout

FOLDER = "segments/"


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """All records of `ids` in the views `first_view` to `first_view + num_views - 1`.

    A cache is made of segments that do not overlap. It grows by segments; none is ever rewritten.
    The name of a segment follows from what it holds, so that processes which create it at the same
    moment write the same files and need not wait for each other.

    Attributes:
      path: of the cache.
      layout: array name → (shape of a record, dtype name).
      compression: of the chunks, None or a codec of Zarr 3.
      ids: int32, ascending.
      first_view: number of the first view.
      num_views: number of views.
      block_size: examples in a block.
      content: description of the digests of its examples, see `ExampleDigests.description`; None
        if it has none, as in format 2.
      cache_id: the `id` of the contract; None in format 2, where files are not bound to it.
    """

    path: str
    layout: Layout
    compression: str | None
    ids: np.ndarray
    first_view: int
    num_views: int
    block_size: int
    content: Mapping[str, Any] | None = None
    cache_id: str | None = None

    @functools.cached_property
    def name(self) -> str:
        """`views0-2_<digest of ids, block size and what the examples are>`."""
        held = "" if self.content is None else f" {self.content['digests']}"
        content = f"{of_ids(self.ids)} {self.block_size}{held}".encode()
        last = self.first_view + self.num_views - 1
        return f"views{self.first_view}-{last}_{hashlib.sha256(content).hexdigest()[:16]}"

    @property
    def folder(self) -> str:
        """The folder of all its files, within the cache."""
        return f"{FOLDER}{self.name}/"

    @property
    def blocks(self) -> int:
        """Blocks of one view."""
        return math.ceil(len(self.ids) / self.block_size)

    def rows(self, index: int) -> slice:
        """Rows of `ids` that a block holds."""
        start = index * self.block_size
        return slice(start, min(start + self.block_size, len(self.ids)))

    @property
    def views(self) -> range:
        """Numbers of its views."""
        return range(self.first_view, self.first_view + self.num_views)

    def has_view(self, view: int) -> bool:
        """Whether the segment holds this view."""
        return view in self.views

    def create(self, digests: ExampleDigests | None = None) -> None:
        """Writes which examples it holds; harmless where another process does the same.

        Args:
          digests: what its examples are, as `content` describes it.
        """
        _store.write_bytes(self.path, f"{self.folder}ids", self.ids.astype("<i4").tobytes())
        if digests is not None:
            self.write_digests(digests)

    def digests(self) -> ExampleDigests:
        """Reads the digests of its examples.

        Returns:
          The digests, in the order of `ids`.

        Raises:
          CacheError: the file is gone or damaged.
        """
        assert self.content is not None
        content = _store.read_bytes(self.path, self._digests_name)
        return ExampleDigests.from_bytes(self.path, self._digests_name, content, self.content)

    def write_digests(self, digests: ExampleDigests) -> None:
        """Writes the digests of its examples."""
        _store.write_bytes(self.path, self._digests_name, digests.to_bytes())

    @property
    def _digests_name(self) -> str:
        return f"{self.folder}examples"

    @functools.cached_property
    def arrays(self) -> dict[str, Any]:
        """Name → TensorStore `[num_views, examples, ...]`."""
        return self._open(create=False)

    def _open(self, create: bool) -> dict[str, Any]:
        return _store.open_arrays(
            self.path,
            f"{self.folder}records/",
            self.layout,
            self.num_views,
            len(self.ids),
            self.block_size,
            compression=self.compression,
            create=create,
        )

    def present(self) -> np.ndarray:
        """Returns which blocks are there in every array, bool `[num_views, blocks]`.

        Read from the names of the files: a file is there as a whole or not at all.
        """
        present = np.ones((self.num_views, self.blocks), bool)
        for name in self.layout:
            there = set(_store.names(self.path, f"{self.folder}records/{name}/c/"))
            present &= np.array(
                [
                    [self.shard(name, Block(view, index)) in there for index in range(self.blocks)]
                    for view in self.views
                ]
            )
        return present

    def missing(self) -> list[Block]:
        """Blocks of which there is no file, or that of another place, in order of the views.

        Returns:
          What has to be computed.

        Raises:
          CacheError: a file that may belong there, but does not say so in whole.
        """
        present = self.present()
        missing = {block for block in self.all_blocks if not present[self._at(block)]}
        if present.any():
            self.create_arrays()
            for bad in self.placement.misplaced([b for b in self.all_blocks if b not in missing]):
                if not bad.is_foreign:
                    raise CacheError(str(bad))
                warnings.warn(f"{bad} This is done now.", stacklevel=2)
                missing.add(bad.block)
        return [block for block in self.all_blocks if block in missing]

    @property
    def all_blocks(self) -> list[Block]:
        """All blocks, in order of the views."""
        return [Block(view, index) for view in self.views for index in range(self.blocks)]

    def _at(self, block: Block) -> tuple[int, int]:
        return block.view - self.first_view, block.index

    def shard(self, name: str, block: Block) -> str:
        """Name of the file that holds a block of an array, within the cache."""
        place = f"{self.folder}records/{name}/c/{block.view - self.first_view}/{block.index}"
        return place + "/0" * len(self.layout[name][0])

    def tag(self, name: str, block: Block) -> ShardTag | None:
        """What the file of a block carries of its place; None in format 2, where none does."""
        if self.cache_id is None:
            return None
        return ShardTag(self.cache_id, self.name, name, block.view, block.index)

    def index_bytes(self, name: str) -> int:
        """Length of the index at the end of each file of an array."""
        return index_bytes(self.arrays[name], self.block_size)

    def create_arrays(self) -> None:
        """Writes the descriptions of the arrays, unless they are there."""
        self.__dict__["arrays"] = self._open(create=True)

    def write(self, block: Block, arrays: Arrays) -> list[Any]:
        """Begins to write a block; returns futures. An array's file appears whole or not at all."""
        if "arrays" not in self.__dict__:
            self.create_arrays()
        encoders = self._encoders  # opened here, not by several threads at once
        # All arrays at once: a block counts as written when the last of its files is there.
        return [
            _threads().submit(self._write, encoders[name], name, block, value)
            for name, value in arrays.items()
        ]

    def _write(self, encoder: Any, name: str, block: Block, value: np.ndarray) -> None:
        """Encodes a shard in memory, puts its tag in and writes it."""
        key = self.shard(name, block)
        inside = key.removeprefix(f"{self.folder}records/{name}/")
        encoder[block.view - self.first_view, self.rows(block.index)].write(value).result()
        shard = bytes(encoder.kvstore.read(inside).result().value)
        encoder.kvstore.write(inside, None).result()
        if (tag := self.tag(name, block)) is not None:
            shard = with_tag(shard, tag, self.index_bytes(name))
        _store.write_bytes(self.path, key, shard)

    @functools.cached_property
    def _encoders(self) -> dict[str, Any]:
        """The same arrays in memory."""
        return {name: _store.in_memory(array) for name, array in self.arrays.items()}

    @functools.cached_property
    def placement(self) -> PlacementCheck:
        """Whether its files are those that belong there."""
        return PlacementCheck(self)

    def read(self, view: int, rows: Any) -> PendingRead:
        """Begins to read rows of a view, and the tags of files that were not read before.

        Args:
          view: number of the view.
          rows: a slice, or integers in any order.

        Returns:
          What can be waited for.
        """
        where = (view - self.first_view, rows)
        futures = {name: array[where].read() for name, array in self.arrays.items()}
        return PendingRead(self.placement, self.path, futures, self.placement.begin(view, rows))

    @property
    def sealed(self) -> bool:
        """Whether it was complete at some moment."""
        return _store.read_document(self.path, f"{self.folder}seal.json") is not None

    def seal(self) -> None:
        """Declares the segment complete, for good.

        Any process that sees all blocks may do so, and several may at the same time: they write the
        same file.
        """
        digests = {name: _digest(self.path, self._metadata(name)) for name in self.layout}
        document = {
            "blocks": self.num_views * self.blocks,
            "arrays": digests,
            "cache": self.cache_id,
            "segment": self.name,
        }
        _store.write_document(self.path, f"{self.folder}seal.json", document)

    def check_seal(self) -> bool:
        """Reads the seal and compares the array descriptions with those that were sealed.

        Returns:
          Whether there is a seal.

        Raises:
          CacheError: an array description that has changed; names the file.
        """
        seal = _store.read_document(self.path, f"{self.folder}seal.json")
        if seal is None:
            return False
        self._check_place_of(seal)
        for name, digest in seal["arrays"].items():
            if _digest(self.path, self._metadata(name)) != digest:
                raise CacheError(
                    f"the cache {self.path} is damaged: {self._metadata(name)} is not what it was "
                    "when the cache was sealed. Restore that file from a copy."
                )
        return True

    def _check_place_of(self, seal: Mapping[str, Any]) -> None:
        """Refuses the seal of another segment or cache, or of other arrays."""
        belongs = seal.get("cache"), seal.get("segment")
        if self.cache_id is not None and belongs != (self.cache_id, self.name):
            raise CacheError(
                f"the cache {self.path} is damaged: {self.folder}seal.json belongs to the segment "
                f"{belongs[1]} of the cache {belongs[0]}, this is {self.name} of {self.cache_id}. "
                "Restore that file from a copy."
            )
        if not isinstance(seal.get("arrays"), dict) or set(seal["arrays"]) != set(self.layout):
            raise CacheError(
                f"the cache {self.path} is damaged: {self.folder}seal.json should name the arrays "
                f"{sorted(self.layout)}, its entry 'arrays' is {seal.get('arrays')!r}. Restore "
                "that file from a copy."
            )

    def _metadata(self, name: str) -> str:
        return f"{self.folder}records/{name}/zarr.json"


def copy_shard(source: Segment, target: Segment, name: str, block: Block) -> None:
    """Copies the file of a block, bound to its new place.

    Args:
      source: the segment that has the block.
      target: one of the same name, in another cache or of another format.
      name: name of the array.
      block: which block.

    Raises:
      CacheError: the file is gone.
    """
    shard = _store.read_bytes(source.path, source.shard(name, block))
    tag = target.tag(name, block)
    assert tag is not None  # nothing is written in format 2
    if shard is None:
        raise CacheError(
            f"the cache {source.path} is damaged in the array {name!r}: "
            f"{source.shard(name, block)} is missing. Build again with the same arguments: only "
            "that block is computed anew."
        )
    shard = with_tag(shard, tag, source.index_bytes(name))
    _store.write_bytes(target.path, target.shard(name, block), shard)


@functools.cache
def _threads() -> concurrent.futures.Executor:
    """Threads that wait for files to be written."""
    return concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="jaxkd-cache")


def _digest(path: str, name: str) -> str:
    return "sha256:" + hashlib.sha256(_store.read_bytes(path, name) or b"").hexdigest()
