"""Which segments a cache has and needs: creating one, resuming one, extending one."""

import dataclasses
import functools
import importlib.metadata
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _contract, _rendering
from jaxkd.cache._behavior import TeacherBehavior
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._contract import CacheError
from jaxkd.cache._contract_document import create_contract, read_contract
from jaxkd.cache._example_digests import ExampleDigests
from jaxkd.cache._examples import FINGERPRINT, check_examples, mend_digests
from jaxkd.cache._location import check_writable
from jaxkd.cache._segment import Segment
from jaxkd.cache._segment_list import SegmentList, read_segment_list
from jaxkd.data._examples import integer
from jaxkd.networks._arguments import names_to_allow

# Examples in a file, unless they are larger than this: a block is held in memory while it fills.
_BLOCK, _BLOCK_BYTES = 8192, 256 << 20


@dataclasses.dataclass(frozen=True)
class BuildPlan:
    """Where records are written, with all arguments checked.

    Attributes:
      path: of the cache.
      contents: what is stored.
      segments: those to be filled, complete ones too.
      document: the contract, as it lies on disk.
      allow: names of contract fields that may differ.
    """

    path: str
    contents: CacheContents
    segments: list[Segment]
    document: Mapping[str, Any]
    allow: frozenset[str] = frozenset()


def plan_build(
    path: str,
    contents: CacheContents,
    *,
    num_views: int,
    block_size: int | None,
    extend: bool = False,
    allow: Collection[str] = (),
    document: Mapping[str, Any] | None = None,
    behavior: TeacherBehavior | None = None,
) -> BuildPlan:
    """Checks everything, and creates the cache, or the extension, that is not there yet.

    Args:
      path: of the cache.
      contents: what is stored.
      num_views: number of views of each example.
      block_size: examples in a file; None: by their size.
      extend: whether a cache that is there may grow.
      allow: names of contract fields that may differ from those of a cache that is there.
      document: the contract, if it has been read already.
      behavior: what the teacher computes; None: of these contents.

    Returns:
      The plan.

    Raises:
      CacheError: a cache of something else at `path`, or of other views, examples or blocks where
        it is not to be extended.
      ValueError: sizes that are not positive, codecs that do not fit the teacher or the views, or
        (of a cache that is not there yet) a teacher that is not in evaluation mode.
    """
    dataset, views, allow = contents.dataset, contents.views, names_to_allow(allow)
    check_sizes(num_views, block_size, len(dataset))
    contents.check()
    fields = contents.fields()
    behavior = behavior or TeacherBehavior(contents)
    document = document or read_contract(path)
    if document is None:
        if extend:
            raise CacheError(f"there is no cache at {path} to extend: build one first")
        document = _create(path, contents, fields, behavior, num_views, allow)
    del fields[FINGERPRINT]  # compared with that of each segment
    allow = {*allow, *behavior.described_otherwise(path, document, fields)}
    _contract.check(path, document["fields"], fields, allow)
    record_format = contents.record_format
    while True:
        listed = read_segment_list(path, document)
        known = listed.open(record_format.layout, record_format.compression, dataset.ids)
        if len(known) < len(listed.entries):
            raise CacheError(_of_other_examples(path, listed, known))
        mend_digests(known, dataset)
        codecs = record_format.codecs
        changed = check_examples(path, document["fields"], known, dataset, codecs, allow)
        _rendering.check(path, document, dataset, views, allow, changed)
        behavior.check(path, document, fields, allow, changed)
        plan = BuildPlan(path, contents, known, document, frozenset(allow))
        if extend or not all(segment.sealed for segment in known):
            check_writable(path)
        if not known:
            added = [_new(plan, dataset.ids, 0, num_views, block_size)]
        elif extend:
            added = _additions(plan, num_views, block_size)
        else:
            _check_same_extent(plan, num_views, block_size)
            added = []
        if document["format"] == 2:
            _check_complete(plan, extend)
        new = [segment for segment, _ in added]
        # Somebody else may have added segments since: then all of this is to be decided anew.
        if not new or listed.add(new, written_by=_versions()):
            break
    for segment, digests in added:
        segment.create(digests)
    return dataclasses.replace(plan, segments=known + new)


def _create(
    path: str,
    contents: CacheContents,
    fields: Mapping[str, Any],
    behavior: TeacherBehavior,
    num_views: int,
    allow: Collection[str],
) -> dict[str, Any]:
    """Tries the teacher, and creates a cache without segments, or finds the one that is there."""
    check_writable(path)  # before the teacher runs
    contents.check_mode(allow)
    identity = {"views": _rendering.document(contents.dataset, contents.views, num_views)}
    if behavior.known:
        identity["teacher"] = behavior.document(num_views, allow)
    return create_contract(path, fields, None, identity)


def check_in_place(plan: BuildPlan) -> None:
    """Refuses to declare a cache complete if another one has taken its place in the meantime.

    Args:
      plan: where records were written.

    Raises:
      CacheError: the contract or the segments are not those that were planned with.
    """
    document = read_contract(plan.path)
    if document is None or document.get("id") != plan.document.get("id"):
        now = "there is none" if document is None else f"there is {document.get('id')}"
        raise CacheError(
            f"the cache {plan.document.get('id')} was to be written to {plan.path}, {now} now: "
            "another one has taken its place, or it was deleted. Build it again, at another path"
        )
    listed = read_segment_list(plan.path, document).names
    if lost := [segment.name for segment in plan.segments if segment.name not in listed]:
        raise CacheError(
            f"the segments {lost} were written to the cache {plan.path}, which lists {listed} now: "
            "somebody has put back an older segments.json. Build it again"
        )


def check_process(process: tuple[int, int]) -> None:
    """Refuses an index that is not below the count of the processes."""
    if not 0 <= process[0] < process[1]:
        raise ValueError(f"process must be (index, count) with index < count, not {process}")


def common_ids_and_views(found: Sequence[Segment]) -> tuple[np.ndarray, int]:
    """Returns the examples of view 0, and the number of leading views that hold the same ones.

    Args:
      found: segments of one cache.

    Raises:
      CacheError: two segments hold the same record.
    """
    ids = _ids_of(found, 0)
    views = 0
    while views < max((s.first_view + s.num_views for s in found), default=0) and np.array_equal(
        _ids_of(found, views), ids
    ):
        views += 1
    return ids, views


def _ids_of(found: Sequence[Segment], view: int) -> np.ndarray:
    parts = [s.ids for s in found if s.has_view(view)]
    ids = np.sort(np.concatenate([*parts, np.empty(0, np.int32)]))
    if (twice := ids[1:][ids[1:] == ids[:-1]]).size:
        raise CacheError(
            f"the cache {found[0].path} holds {twice.size} examples of view {view} twice, ids "
            f"{twice[:5].tolist()} first"
        )
    return ids


def _additions(
    plan: BuildPlan, num_views: int, block_size: int | None
) -> list[tuple[Segment, ExampleDigests]]:
    """New segments: further views of the examples that are there, and new examples in all views."""
    ids, views = common_ids_and_views(plan.segments)
    wanted = plan.contents.dataset.ids
    if num_views < views:
        raise CacheError(
            f"the cache {plan.path} has {views} views of each example, extending it to {num_views} "
            "would take some away: use jaxkd.cache.subset for that"
        )
    added = []
    if num_views > views:
        if (absent := np.setdiff1d(ids, wanted)).size:
            raise CacheError(
                f"more views of {absent.size} examples of the cache {plan.path} are wanted which "
                f"are not in this data set, ids {absent[:5].tolist()} first: extend it with all "
                "examples"
            )
        added.append(_new(plan, ids, views, num_views - views, block_size))
    if (new_ids := np.setdiff1d(wanted, ids)).size:
        added.append(_new(plan, new_ids, 0, num_views, block_size))
    return added


def _new(
    plan: BuildPlan, ids: np.ndarray, first_view: int, count: int, block_size: int | None
) -> tuple[Segment, ExampleDigests]:
    record_format = plan.contents.record_format
    digests = ExampleDigests.of(plan.contents.dataset, ids)
    if block_size is None:
        fitting = _BLOCK_BYTES // record_format.bytes_per_record
        block_size = max(1, min(_BLOCK, 2 ** int(math.log2(max(1, fitting)))))
    block = _block_size(block_size, len(ids))
    segment = Segment(
        plan.path,
        record_format.layout,
        record_format.compression,
        ids,
        first_view,
        int(count),
        int(block),
        digests.description,
        plan.document.get("id"),
    )
    return segment, digests


def _block_size(wanted: int, num_examples: int) -> int:
    """Not larger than the segment needs, in whole chunks of 256 rows."""
    return min(wanted, math.ceil(num_examples / 256) * 256)


@functools.cache
def _versions() -> Mapping[str, str]:
    """Which libraries write a segment."""
    packages = ("jax", "numpy", "tensorstore")
    return {name: importlib.metadata.version(name) for name in packages}


def _of_other_examples(path: str, listed: SegmentList, known: Sequence[Segment]) -> str:
    names = {segment.name for segment in known}
    others = [entry for entry in listed.entries if entry["name"] not in names]
    return (
        f"the cache {path} is being built over {others[0]['examples']}, and these are not the "
        "examples of this data set: build it with the data set that it was begun with, or choose "
        "another path"
    )


def _check_complete(plan: BuildPlan, extend: bool) -> None:
    """Refuses to add to a cache of format 2, whose records are not bound to their places."""
    if extend or any(not segment.sealed or segment.missing() for segment in plan.segments):
        raise CacheError(
            f"the cache {plan.path} has format 2, to which this release adds nothing. If it is "
            f"complete, convert it by python -m jaxkd.cache convert {plan.path}; otherwise finish "
            "it with the release that wrote it, or build it anew"
        )


def _check_same_extent(plan: BuildPlan, num_views: int, block_size: int | None) -> None:
    """Refuses other examples, another number of views or another block size than the cache has."""
    sizes = [segment.block_size for segment in plan.segments]
    if block_size is not None and not any(
        _block_size(block_size, len(segment.ids)) == segment.block_size for segment in plan.segments
    ):
        raise CacheError(
            f"the cache {plan.path} has blocks of {sizes[0]} examples, block_size={block_size} is "
            f"wanted: write block_size={sizes[0]}, or leave it out"
        )
    ids, views = common_ids_and_views(plan.segments)
    stored = {"examples": _contract.of_ids(ids), "num_views": views}
    wanted = {"examples": _contract.of_ids(plan.contents.dataset.ids), "num_views": num_views}
    _contract.check(plan.path, stored, wanted, remedy=_extent_remedy(plan, ids, views, num_views))


def _extent_remedy(plan: BuildPlan, ids: np.ndarray, views: int, num_views: int) -> str:
    """The line to write where a cache has these ids and views, and others are wanted."""
    if num_views > views or not np.isin(plan.contents.dataset.ids, ids).all():
        more = f", num_views={num_views}" if num_views > views else ""
        return f"Add what is not there: jaxkd.cache.extend(path, teacher, dataset, views{more})"
    return (
        "It has all of them: jaxkd.cache.open(path, teacher=teacher, dataset=dataset, views=views)"
    )


def check_sizes(num_views: int, block_size: int | None, num_examples: int) -> None:
    """Refuses sizes of a cache that are no positive integers.

    Args:
      num_views: number of views of each example.
      block_size: examples in a file; None: by their size.
      num_examples: number of examples.

    Raises:
      TypeError: no integer.
      ValueError: a size below 1.
    """
    sizes = {
        "num_views": num_views,
        "block_size": 1 if block_size is None else block_size,
        "the number of examples": num_examples,
    }
    for name, size in sizes.items():
        if integer(size, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
