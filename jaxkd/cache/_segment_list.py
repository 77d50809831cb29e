"""`segments.json`: which segments a cache is made of; changed by one writer at a time.

What is listed and missing is damage, what is there and not listed is foreign.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError, damaged, of_ids
from jaxkd.cache._segment import FOLDER, Segment
from jaxkd.targets import Layout

NAME = "segments.json"
_ENTRIES: Mapping[str, type] = {
    "name": str,
    "examples": str,
    "first_view": int,
    "num_views": int,
    "block_size": int,
}


@dataclasses.dataclass(frozen=True)
class SegmentList:
    """The list of segments as it lay on disk at some moment.

    Attributes:
      path: path of the cache.
      cache_id: the `id` of its contract; None for format 2, which has a document in each folder.
      entries: description of each segment.
      version: version of the file, for the next change.
    """

    path: str
    cache_id: str | None
    entries: list[dict[str, Any]]
    version: bytes = b""

    @property
    def names(self) -> list[str]:
        """Names of the segments."""
        return [entry["name"] for entry in self.entries]

    def add(self, segments: Sequence[Segment], **notes: Any) -> bool:
        """Adds segments to the list on disk, if it is still this one.

        Args:
          segments: new segments.
          **notes: further entries of their descriptions.

        Returns:
          Whether they were added; if not, somebody else has changed the list: read it again.
        """
        new = [_entry(segment) | notes for segment in segments]
        document = {"cache": self.cache_id, "segments": self.entries + new}
        written = _store.replace_document(self.path, NAME, document, self.version)
        # Read again for the stores that do not know conditional writes.
        return written and _store.read_document(self.path, NAME) == document

    def open(
        self, layout: Layout, compression: str | None, ids: np.ndarray | None = None
    ) -> list[Segment]:
        """Opens the segments whose examples are known.

        Args:
          layout: array name → (shape of a record, dtype name).
          compression: of the chunks, None or a codec of Zarr 3.
          ids: example ids of the data set that is being written: a file of ids that is gone or
            damaged is written again from them. None: it is an error.

        Returns:
          The segments, sorted by their first view and their name; without those of which nothing
          but the entry has been written.

        Raises:
          CacheError: the ids of one are damaged, or its name is not that of its content.
        """
        right = {entry["name"]: self._ids(entry) for entry in self.entries}
        found: list[Segment] = []
        for entry in self.entries:
            own = right[entry["name"]]
            if own is None and ids is not None:
                own = self._written_again(entry, ids, right.values())
            if own is None:
                self._refuse_unless_just_begun(entry)
                continue
            extent = {key: entry[key] for key in ("first_view", "num_views", "block_size")}
            rest: dict[str, Any] = {"content": entry.get("content"), "cache_id": self.cache_id}
            segment = Segment(self.path, layout, compression, own, **extent, **rest)
            if segment.name != entry["name"]:
                raise CacheError(
                    f"the cache {self.path} is damaged: the segment {entry['name']} holds what "
                    f"belongs to {segment.name}. Restore {NAME} from a copy."
                )
            found.append(segment)
        return sorted(found, key=lambda segment: (segment.first_view, segment.name))

    def _ids(self, entry: Mapping[str, Any]) -> np.ndarray | None:
        """Reads the ids of a segment; None if these are not its ids."""
        raw = _store.read_bytes(self.path, _file_of_ids(entry))
        if raw is None or len(raw) % 4:
            return None
        ids = np.frombuffer(raw, "<i4").astype(np.int32)
        return ids if of_ids(ids) == entry["examples"] else None

    def _written_again(
        self, entry: Mapping[str, Any], ids: np.ndarray, right: Iterable[np.ndarray | None]
    ) -> np.ndarray | None:
        """Finds the ids of a segment by their digest among those of a data set, and writes them."""
        known = [other for other in right if other is not None]
        union = np.unique(np.concatenate([*known, np.empty(0, np.int32)]))
        for candidate in (ids, np.setdiff1d(ids, union), union, *known):
            if of_ids(candidate) == entry["examples"]:
                little = np.ascontiguousarray(candidate, "<i4")
                _store.write_bytes(self.path, _file_of_ids(entry), little.tobytes())
                return little.astype(np.int32)
        return None

    def _refuse_unless_just_begun(self, entry: Mapping[str, Any]) -> None:
        """Refuses a segment without its ids, unless whoever listed it has not come further."""
        name = _file_of_ids(entry)
        raw = _store.read_bytes(self.path, name)
        seal = f"{FOLDER}{entry['name']}/seal.json"
        if raw is None and self.cache_id and _store.read_bytes(self.path, seal) is None:
            return
        there = np.frombuffer((raw or b"")[: len(raw or b"") // 4 * 4], "<i4")
        raise CacheError(
            f"the cache {self.path} is damaged: {name} should name {entry['examples']}, it "
            f"{'is missing' if raw is None else f'names {of_ids(there)}'}. Restore that file from "
            "a copy, or build again with the same arguments, which writes it anew."
        )


def read_segment_list(path: str, document: Mapping[str, Any]) -> SegmentList:
    """Reads which segments a cache has.

    Args:
      path: path of the cache.
      document: its contract.

    Returns:
      The list; empty for a cache that was just created.

    Raises:
      CacheError: the list is gone, damaged or one of another cache.
    """
    if document["format"] == 2:
        return SegmentList(path, None, _entries_of_format_2(path))
    found, version = _store.read_versioned_document(path, NAME)
    if found is None and _store.names(path, FOLDER):
        # A list that appeared between these two looks is none that is missing.
        found, version = _store.read_versioned_document(path, NAME)
        if found is None:
            raise CacheError(damaged(path, f"{NAME} is missing"))
    if found is None:
        return SegmentList(path, document["id"], [], version)
    if found.get("cache") != document["id"]:
        raise CacheError(
            damaged(path, f"{NAME} is of the cache {found.get('cache')}, this is {document['id']}")
        )
    entries = found.get("segments")
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise CacheError(damaged(path, f"{NAME} has other entries than {sorted(_ENTRIES)}"))
    return SegmentList(path, document["id"], entries, version)


def incomplete(path: str, found: Sequence[Segment]) -> str:
    """Returns the message on a cache whose segments are not complete: how much of them is there."""
    present = [segment.present() for segment in found]
    there, total = (sum(int(f(p)) for p in present) for f in (np.sum, np.size))
    return (
        f"the cache {path} is not complete: {there} of {total} blocks are there. Run the build "
        "again with the same arguments; it computes the others."
    )


def _entry(segment: Segment) -> dict[str, Any]:
    return {
        "name": segment.name,
        "examples": of_ids(segment.ids),
        "first_view": segment.first_view,
        "num_views": segment.num_views,
        "block_size": segment.block_size,
        "content": None if segment.content is None else dict(segment.content),
    }


def _file_of_ids(entry: Mapping[str, Any]) -> str:
    return f"{FOLDER}{entry['name']}/ids"


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    content = entry.get("content")
    described = content is None or (
        isinstance(content, dict)
        and all(isinstance(content.get(n), str) for n in ("fingerprint", "labels", "digests"))
        and isinstance(content.get("labels_per_token"), bool | str)
    )
    if not described or not all(type(entry.get(n)) is kind for n, kind in _ENTRIES.items()):
        return False
    least = {"first_view": 0, "num_views": 1, "block_size": 1}
    return all(entry[name] >= size for name, size in least.items())


def _entries_of_format_2(path: str) -> list[dict[str, Any]]:
    """In format 2 each segment had a description of its own, and whatever was there counted."""
    entries = []
    for key in _store.names(path, FOLDER):
        if key.endswith("/segment.json") and (found := _store.read_document(path, key)) is not None:
            entry = {**found, "name": key.removeprefix(FOLDER).removesuffix("/segment.json")}
            if not _is_entry(entry):
                raise CacheError(damaged(path, f"{key} has other entries than {sorted(_ENTRIES)}"))
            entries.append(entry)
    return entries
