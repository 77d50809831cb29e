"""A segment: the records of some examples in consecutive views, in blocks of one file each."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError, of_ids
from jaxkd.cache._example_digests import ExampleDigests
from jaxkd.targets import Layout

FOLDER = "segments/"

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
    """

    path: str
    layout: Layout
    compression: str | None
    ids: np.ndarray
    first_view: int
    num_views: int
    block_size: int
    content: Mapping[str, Any] | None = None

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

    def has_view(self, view: int) -> bool:
        """Whether the segment holds this view."""
        return self.first_view <= view < self.first_view + self.num_views

    def create(self, digests: ExampleDigests | None = None, **notes: Any) -> None:
        """Writes what describes the segment; harmless where another process does the same.

        Args:
          digests: what its examples are, as `content` describes it.
          **notes: further entries of the description.
        """
        _store.write_bytes(self.path, f"{self.folder}ids", self.ids.astype("<i4").tobytes())
        if digests is not None:
            self.write_digests(digests)
            notes["content"] = dict(digests.description)
        document = {
            "examples": of_ids(self.ids),
            "first_view": self.first_view,
            "num_views": self.num_views,
            "block_size": self.block_size,
            **notes,
        }
        _store.write_document(self.path, f"{self.folder}segment.json", document)

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
            found = np.zeros_like(present)
            prefix = f"{self.folder}records/{name}/c/"
            for key in _store.names(self.path, prefix):
                parts = key.removeprefix(prefix).split("/")
                # What is not the name of a shard was left behind by a write that was cut short.
                if all(part.isdigit() for part in parts):
                    found[int(parts[0]), int(parts[1])] = True
            present &= found
        return present

    def missing(self) -> list[Block]:
        """Blocks that are not there, in order of the views."""
        return [
            Block(self.first_view + int(view), int(index))
            for view, index in np.argwhere(~self.present())
        ]

    def write(self, block: Block, arrays: Arrays) -> list[Any]:
        """Begins to write a block; returns futures. An array's file appears whole or not at all."""
        opened = self.__dict__.get("arrays") or self._open(create=True)
        self.__dict__["arrays"] = opened
        where = (block.view - self.first_view, self.rows(block.index))
        # All arrays at once: a block counts as written when the last of its files is there.
        return [opened[name][where].write(value) for name, value in arrays.items()]

    def read(self, view: int, rows: Any) -> dict[str, Any]:
        """Begins to read rows of a view: name → future."""
        where = (view - self.first_view, rows)
        return {name: array[where].read() for name, array in self.arrays.items()}

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
        document = {"blocks": self.num_views * self.blocks, "arrays": digests}
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
        for name, digest in seal["arrays"].items():
            if _digest(self.path, self._metadata(name)) != digest:
                raise CacheError(
                    f"the cache {self.path} is damaged: {self._metadata(name)} is not what it was "
                    "when the cache was sealed. Restore that file from a copy."
                )
        return True

    def _metadata(self, name: str) -> str:
        return f"{self.folder}records/{name}/zarr.json"


def segments(path: str, layout: Layout, compression: str | None) -> list[Segment]:
    """Reads all segments of a cache, sealed or not.

    Args:
      path: path of the cache.
      layout: array name → (shape of a record, dtype name).
      compression: of the chunks, None or a codec of Zarr 3.

    Returns:
      The segments, sorted by their first view and their name.

    Raises:
      CacheError: the description or the ids of one are damaged.
    """
    found = []
    for key in _store.names(path, FOLDER):
        if not key.endswith("/segment.json"):
            continue
        document = _store.read_document(path, key)
        assert document is not None
        name = key.removeprefix(FOLDER).removesuffix("/segment.json")
        raw = _store.read_bytes(path, f"{FOLDER}{name}/ids") or b""
        ids = np.frombuffer(raw[: len(raw) // 4 * 4], "<i4").astype(np.int32)
        if of_ids(ids) != document["examples"] or len(raw) % 4:
            raise CacheError(
                f"the cache {path} is damaged: {FOLDER}{name}/ids should name "
                f"{document['examples']}, it names {of_ids(ids)}. Restore that file from a copy."
            )
        extent = {key: document[key] for key in ("first_view", "num_views", "block_size")}
        content = document.get("content")
        found.append(Segment(path, layout, compression, ids, **extent, content=content))
    return sorted(found, key=lambda segment: (segment.first_view, segment.name))


def _digest(path: str, name: str) -> str:
    return "sha256:" + hashlib.sha256(_store.read_bytes(path, name) or b"").hexdigest()
