"""Caches from caches: merging parts that were built separately, and copying a part of one."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _contract, _store
from jaxkd.cache._blocks import Blocks
from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.cache._contract_document import create_contract, read_contract
from jaxkd.cache._example_digests import ExampleDigests, join
from jaxkd.cache._examples import FINGERPRINT, check_parts, unchanged_ids
from jaxkd.cache._identity import delete_other_identities
from jaxkd.cache._joined import joined_identity
from jaxkd.cache._location import normalized
from jaxkd.cache._plan import check_sizes, common_ids_and_views
from jaxkd.cache._segment import FOLDER, Segment, copy_shard
from jaxkd.cache._segment_list import read_segment_list
from jaxkd.cache._sketch import of_examples
from jaxkd.data import Examples
from jaxkd.data._examples import integers
from jaxkd.networks._arguments import names_to_allow


def merge(
    target: str | pathlib.Path,
    sources: Sequence[str | pathlib.Path],
    *,
    codecs: Sequence[type] = (),
    allow: Collection[str] = (),
) -> Cache:
    """Joins caches of different examples or views of one data set and teacher into a new one.

    Records are copied as they are, nothing is encoded anew. Called again after a kill, it goes on.

    Args:
      target: where the new cache goes.
      sources: complete caches; together they must have the same number of views of each example.
      codecs: classes of one's own codecs, if they were built with any.
      allow: names of contract fields that may differ from those of the first source, which are
        kept; `"teacher.outputs"` and `"views.probe"`: teachers and views that were coded otherwise.

    Returns:
      The new cache.

    Raises:
      CacheError: contracts that differ, by field, or teachers and views in what they compute;
        records that two of them have, or that none has; something else at `target`.
      TypeError: one path instead of several.
      ValueError: no source, or one that is named twice.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, 2 * jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> parts = [data.select(data.ids[:2]), data.select(data.ids[2:])]
      >>> paths = [tempfile.mkdtemp(), tempfile.mkdtemp()]
      >>> for path, part in zip(paths, parts):
      ...     _ = jaxkd.cache.build(path, teacher, part, progress=False)
      >>> merge(tempfile.mkdtemp(), paths).ids
      array([0, 1, 2, 3], dtype=int32)
    """
    if isinstance(sources, str | pathlib.PurePath):
        raise TypeError(f"sources must be several caches: write merge(target, [{str(sources)!r}])")
    if not sources:
        raise ValueError("nothing to merge: name at least one cache")
    allow = names_to_allow(allow)
    places = [_place(source) for source in sources]
    if twice := {place for place in places if places.count(place) > 1}:
        raise ValueError(f"the sources {sorted(twice)} are named more than once: name each once")
    caches = [Cache(source, codecs=codecs) for source in sources]
    found = [segment for cache in caches for segment in cache.segments]
    # Known by example, data sets of several sizes make one.
    by_example = {FINGERPRINT} if all(s.content is not None for s in found) else set()
    fields = caches[0].contract
    for cache in caches[1:]:
        _contract.check(caches[0].path, fields, cache.contract, by_example | allow)
        # Names of classes may be known to one of the later ones alone.
        fields = _contract.completed(fields, cache.contract)
    if by_example:
        check_parts(found, allow)
    ids, views = common_ids_and_views(found)
    last = max(s.first_view + s.num_views for s in found)
    if views < last or sum(len(s.ids) * s.num_views for s in found) != len(ids) * views:
        raise CacheError(
            f"together the caches {[c.path for c in caches]} do not have as many views of each "
            f"example: {len(ids)} examples in view 0, the same ones in {views} of {last} views"
        )
    document = _begin(target, caches, found, fields, allow=allow)
    for segment in found:
        copy = dataclasses.replace(segment, path=normalized(target), cache_id=document["id"])
        copy.create(None if segment.content is None else segment.digests())
        _copy_records(segment, copy)
        # Last: a copy that is cut short must not pass for a complete segment.
        copy.seal()
    delete_other_identities(normalized(target), document["id"])
    return Cache(target, codecs=codecs)


def subset(
    path: str | pathlib.Path,
    target: str | pathlib.Path,
    *,
    ids: np.ndarray | None = None,
    dataset: Examples | None = None,
    num_views: int | None = None,
    block_size: int = 8192,
    codecs: Sequence[type] = (),
) -> Cache:
    """Copies some examples and the first views of a cache into a new one.

    Where examples have changed, `subset(path, target, dataset=dataset)` copies the records that are
    still right, and `extend(target, teacher, dataset, …)` computes the others.

    Args:
      path: path of the cache.
      target: where the new one goes.
      ids: example ids, by default all.
      dataset: a data set; examples that are not in it, or have another content in it (or another
        label, where a codec keeps the class of the label), are left out.
      num_views: number of views, from view 0 on, by default all.
      block_size: examples in a file.
      codecs: classes of one's own codecs, if it was built with any.

    Returns:
      The new cache.

    Raises:
      CacheError: ids or views that the cache does not have; something else at `target`.
      TypeError: ids or sizes that are not integers.
      ValueError: no ids, or sizes below 1.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> subset(cache.path, tempfile.mkdtemp(), ids=[1, 3]).ids
      array([1, 3], dtype=int32)
    """
    source = Cache(path, codecs=codecs, memory_limit=0)
    ids = source.ids if ids is None else np.unique(integers(ids, "ids"))
    if dataset is not None:
        ids = np.intersect1d(ids, _unchanged(source, dataset))
    views = source.num_views if num_views is None else num_views
    if not ids.size or views < 1:
        raise ValueError(f"a cache of {ids.size} examples and {views} views would be empty")
    check_sizes(views, block_size, len(ids))
    source.check(num_views=views)
    ids = source.ids[source.rows(ids)]
    model = source.segments[0]
    digests = _digests_of(source, ids)
    segment = Segment(
        normalized(target),
        model.layout,
        model.compression,
        ids,
        0,
        views,
        block_size,
        content=None if digests is None else digests.description,
    )
    document = _begin(
        target, [source], [segment], source.contract, None if dataset is None else ids
    )
    segment = dataclasses.replace(segment, cache_id=document["id"])
    segment.create(digests)
    blocks = Blocks([segment], "subset")
    for view in range(views):
        for start in range(0, len(ids), block_size):
            some = ids[start : start + block_size]
            record = source.read(some, view)
            arrays = {
                f"{output}.{name}": np.asarray(array)
                for output, named in record.arrays.items()
                for name, array in named.items()
            }
            blocks.put(some, view, arrays)
    blocks.finish()
    delete_other_identities(normalized(target), document["id"])
    return Cache(target, codecs=codecs)


def _unchanged(source: Cache, dataset: Examples) -> np.ndarray:
    """The examples whose records are still right; none where every view depends on all examples."""
    ids = unchanged_ids(source.segments, dataset, source.codecs)
    if "views.partners" in source.contract and not np.array_equal(ids, source.ids):
        raise CacheError(
            f"the cache {source.path} is of views that mix examples, and of its {len(source.ids)} "
            f"examples {len(source.ids) - len(ids)} are others in this data set: each may be mixed "
            "into any other, so no record is certain. Build another cache"
        )
    return ids


def _digests_of(source: Cache, ids: np.ndarray) -> ExampleDigests | None:
    """The digests of some examples of a cache; None if it does not have those of all."""
    holding = [segment for segment in source.segments if segment.has_view(0)]
    if any(segment.content is None for segment in holding):
        return None
    held = np.concatenate([segment.ids for segment in holding])
    order = np.argsort(held)
    rows = order[np.searchsorted(held, ids, sorter=order)]
    return join([segment.digests() for segment in holding]).rows(rows)


def _copy_records(source: Segment, target: Segment) -> None:
    """Copies the files of a segment, each bound to its new place; chunks are copied as they are."""
    if misplaced := source.placement.misplaced(source.all_blocks):
        raise CacheError(str(misplaced[0]))
    for name in source.layout:
        description = f"records/{name}/zarr.json"
        content = _store.read_bytes(source.path, f"{source.folder}{description}")
        _store.write_bytes(target.path, f"{target.folder}{description}", content)
    present = target.present()
    there = [
        block for block, is_there in zip(target.all_blocks, present.flat, strict=True) if is_there
    ]
    # Whatever else lies there is written over, since what belongs there is at hand.
    right = set(there) - {bad.block for bad in target.placement.misplaced(there)}
    for block in target.all_blocks:
        if block in right:
            continue
        for name in source.layout:
            copy_shard(source, target, name, block)


def _begin(
    target: str | pathlib.Path,
    sources: Sequence[Cache],
    segments: Sequence[Segment],
    fields: Mapping[str, Any],
    unchanged: np.ndarray | None = None,
    allow: Collection[str] = (),
) -> Mapping[str, Any]:
    """Writes contract and list of a new cache, or refuses what is there before anything is written.

    Args:
      target: where the new cache goes.
      sources: caches of one contract whose records it gets.
      segments: all segments that it will have.
      fields: those of its contract.
      unchanged: the only examples that are still what they were; None: all are.
      allow: names of fields that may differ between the sources.

    Returns:
      The contract of the target.

    Raises:
      CacheError: the target is a source, or holds a cache of something else.
    """
    if _place(target) in [_place(cache.path) for cache in sources]:
        raise CacheError(f"the target {target} is a source too: choose another path for the target")
    path, model = normalized(target), sources[0].document
    document = read_contract(path)
    contracts = [(source.path, source.document) for source in sources]
    if document is not None:
        _contract.check(path, document["fields"], fields)
        contracts.insert(0, (path, document))
    # Compared also where a copy goes on that was begun from other sources.
    identity = joined_identity(contracts, allow)
    _refuse_others({name.split("/")[1] for name in _store.names(path, FOLDER)}, path, segments)
    if document is None:
        if unchanged is not None:
            identity = {kind: of_examples(kept, unchanged) for kind, kept in identity.items()}
        document = create_contract(path, fields, model.get("probe"), identity)
        _contract.check(path, document["fields"], fields)
    while True:
        listed = read_segment_list(path, document)
        _refuse_others(listed.names, path, segments)
        new = [segment for segment in segments if segment.name not in listed.names]
        if not new or listed.add(new):
            return document


def _refuse_others(names: Collection[str], target: str, segments: Sequence[Segment]) -> None:
    """Refuses segments that are not written now; a copy that was cut short goes on."""
    wanted = {segment.name for segment in segments}
    if others := sorted(set(names) - wanted):
        raise CacheError(
            f"the target {target} already holds other records: it has the segments {others}, this "
            f"call writes {sorted(wanted)}. Choose another path for the target, or delete that one"
        )


def _place(path: str | pathlib.Path) -> str:
    """Returns the one name of a directory or URL, beyond symbolic links."""
    text = normalized(path)
    return text if "://" in text else str(pathlib.Path(text).resolve())
