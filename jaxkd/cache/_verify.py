"""Reading every checksum of a cache, and looking for what is missing or does not belong there."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from jaxkd.cache import _store
from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.cache._identity import FOLDER as IDENTITY
from jaxkd.cache._segment import FOLDER as SEGMENTS
from jaxkd.cache._segment import Segment
from jaxkd.cache._segment_list import SegmentList, read_segment_list
from jaxkd.cache._sketch import read_spots

_EFFORT = "effort/"


@dataclasses.dataclass(frozen=True)
class DamagedBlock:
    """A block of an array that is not as it was written, or another file that is not in order.

    Attributes:
      array: name of the array; empty for what is no block.
      view: number of the view; -1 for what is no block.
      block: index of the block; -1 for what is no block.
      message: the error, and the remedy.
      file: name of the file or folder within the cache, for what is no block.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> import pathlib
      >>> _ = (pathlib.Path(cache.path) / "segments" / "left").mkdir()
      >>> _ = (pathlib.Path(cache.path) / "segments" / "left" / "ids").write_bytes(b"")
      >>> [damage.file for damage in jaxkd.cache.verify(cache.path)]
      ['segments/left']
    """

    array: str
    view: int
    block: int
    message: str
    file: str = ""


def verify(path: str | pathlib.Path, *, codecs: Sequence[type] = ()) -> list[DamagedBlock]:
    """Reads every record of a cache and so every checksum, and looks at every other file.

    Found are blocks that are damaged, gone or belong elsewhere, segments that are listed and not
    complete, segments and documents that do not belong to the cache, and what killed writers left.

    Args:
      path: of the cache.
      codecs: classes of one's own codecs, if it was built with any.

    Returns:
      What is damaged; empty if nothing is.

    Raises:
      CacheError: there is no cache, it is not complete, or a document without which it cannot be
        read is damaged.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> verify(cache.path)
      []
    """
    cache = Cache(path, codecs=codecs)
    listed = read_segment_list(cache.path, cache.document)
    damages = [block for segment in cache.segments for block in _damaged_blocks(segment)]
    damages += _incomplete_segments(cache, listed)
    damages += _wrong_documents(cache)
    damages += _foreign_files(cache, listed)
    return damages


def _damaged_blocks(segment: Segment) -> Iterator[DamagedBlock]:
    for block in segment.all_blocks:
        pending = segment.read(block.view, segment.rows(block.index))
        for name in segment.layout:
            try:
                pending.array(name)
            except CacheError as error:
                yield DamagedBlock(name, block.view, block.index, str(error))


def _incomplete_segments(cache: Cache, listed: SegmentList) -> Iterator[DamagedBlock]:
    complete = {segment.name for segment in cache.segments}
    for name in listed.names:
        if name not in complete:
            yield _file(
                cache,
                f"{SEGMENTS}{name}",
                "is listed and not complete: extend the cache again with the same arguments, which "
                "computes what is missing, or restore that folder from a copy",
            )


def _wrong_documents(cache: Cache) -> Iterator[DamagedBlock]:
    """Documents that are needed for checks alone, so that a cache opens without them."""
    for kind in cache.document.get("identity", ()):
        try:
            read_spots(cache.path, cache.document, kind)
        except CacheError as error:
            yield DamagedBlock(
                "", -1, -1, str(error), f"{IDENTITY}{cache.document['id']}/{kind}.json"
            )
    for segment in cache.segments:
        if segment.content is not None:
            try:
                segment.digests()
            except CacheError as error:
                yield DamagedBlock("", -1, -1, str(error), f"{segment.folder}examples")
    for name in _store.names(cache.path, _EFFORT):
        try:
            _store.read_document(cache.path, name)
        except CacheError as error:
            yield DamagedBlock("", -1, -1, str(error), name)


def _foreign_files(cache: Cache, listed: SegmentList) -> Iterator[DamagedBlock]:
    """What lies in the folders of a cache without being part of it."""
    known = {name for segment in cache.segments for name in _files_of(segment)}
    complete, folders = {segment.name for segment in cache.segments}, set()
    for name in _store.names(cache.path, SEGMENTS):
        folder = name.split("/")[1]
        if folder not in listed.names and folder not in folders:
            folders.add(folder)  # named once for all its files
            what = "is not in the list of segments, so nothing reads it: delete that folder"
            yield _file(cache, f"{SEGMENTS}{folder}", what)
        elif folder in complete and name not in known:
            what = "is no part of the segment, such as a killed writer leaves: delete that file"
            yield _file(cache, name, what)
    own = {
        f"{IDENTITY}{cache.document.get('id')}/{k}.json" for k in cache.document.get("identity", ())
    }
    for name in _store.names(cache.path, IDENTITY):
        if name not in own:
            yield _file(cache, name, "belongs to no cache that is here: delete that file")


def _files_of(segment: Segment) -> Iterator[str]:
    """Names of all files of a complete segment."""
    alone = ["ids", "seal.json"] + ["examples"] * (segment.content is not None)
    if segment.cache_id is None:
        alone.append("segment.json")
    yield from (segment.folder + name for name in alone)
    for name in segment.layout:
        yield f"{segment.folder}records/{name}/zarr.json"
        yield from (segment.shard(name, block) for block in segment.all_blocks)


def _file(cache: Cache, name: str, what: str) -> DamagedBlock:
    return DamagedBlock("", -1, -1, f"the cache {cache.path}: {name} {what}.", name)
