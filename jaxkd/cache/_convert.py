"""Caches of format 2, turned into caches of format 3 where they lie."""

import dataclasses
import pathlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from jaxkd.cache import _store
from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.cache._contract_document import FORMAT, NAME, read_contract
from jaxkd.cache._location import check_writable, normalized
from jaxkd.cache._record_format import RecordFormat
from jaxkd.cache._segment import FOLDER, Segment, copy_shard
from jaxkd.cache._segment_list import SegmentList, read_segment_list

# Holds the id that the cache will have, from the first file that is bound to it.
_STATE = "conversion.json"


def convert(path: str | pathlib.Path, *, codecs: Sequence[type] = ()) -> Cache:
    """Converts a complete cache of format 2 to format 3; called again after a kill, it goes on.

    Each file of records gets a line that binds it to its place; the records stay as they are, and
    the cache can be read meanwhile. What format 2 did not keep, outputs of the teacher to compare
    with and the content of each example, the cache does not have afterwards either.

    Args:
      path: of the cache.
      codecs: classes of one's own codecs, if it was built with any.

    Returns:
      The cache.

    Raises:
      CacheError: there is no cache, or one that is damaged or not complete.
    """
    name = normalized(path)
    document = read_contract(name)
    if document is None:
        raise CacheError(f"there is no cache at {path}: build one with jaxkd.cache.build")
    if document["format"] == 2:
        check_writable(name)
        document = _convert(name, document, codecs)
    # What only format 2 has, and what the conversion kept for itself.
    for file in [_STATE, *(n for n in _store.names(name, FOLDER) if n.endswith("/segment.json"))]:
        if _store.read_bytes(name, file) is not None:
            _store.write_bytes(name, file, None)
    return Cache(name, codecs=codecs, document=document)


def _convert(path: str, document: dict[str, Any], codecs: Sequence[type]) -> dict[str, Any]:
    record_format = RecordFormat.from_fields(document["fields"], codecs)
    listed = read_segment_list(path, document)
    found = listed.open(record_format.layout, record_format.compression)
    if unfinished := [s.name for s in found if not s.check_seal() or not s.present().all()]:
        raise CacheError(
            f"the cache {path} of format 2 is not complete: blocks of {unfinished} are missing. "
            "Finish it with the release of jaxkd-distill that wrote it, or build it anew at "
            "another path"
        )
    _store.create_document(path, _STATE, {"id": secrets.token_hex(16)})
    state = _store.read_document(path, _STATE)
    assert state is not None
    bound = [dataclasses.replace(segment, cache_id=state["id"]) for segment in found]
    for segment, target in zip(found, bound, strict=True):
        _bind(segment, target)
    converted = {**document, "format": FORMAT, "id": state["id"], "identity": []}
    _, version = _store.read_versioned(path, "segments.json")
    SegmentList(path, state["id"], [], version).add(bound)
    # From here on it is a cache of format 3, whole or not at all.
    there, version = _store.read_versioned_document(path, NAME)
    if there == document:
        _store.replace_document(path, NAME, converted, version)
    return _of(path, read_contract(path))


def _bind(segment: Segment, target: Segment) -> None:
    """Writes the tags of all files that have none yet, and the seal."""
    for bad in target.placement.misplaced(target.all_blocks):
        if bad.is_foreign:
            raise CacheError(str(bad))
        copy_shard(segment, target, bad.array, bad.block)
    target.seal()


def _of(path: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
    if document is None or document["format"] != FORMAT:
        raise CacheError(
            f"the contract of the cache {path} changed while it was being converted: convert it "
            f"again by python -m jaxkd.cache convert {path}"
        )
    return dict(document)
