"""Reading every checksum of a cache."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.cache._segment import Segment


@dataclasses.dataclass(frozen=True)
class DamagedBlock:
    """A block of an array that is not as it was written.

    Attributes:
      array: name of the array.
      view: number of the view.
      block: index of the block.
      message: the error, and the remedy.
    """

    array: str
    view: int
    block: int
    message: str


def verify(path: str | pathlib.Path, *, codecs: Sequence[type] = ()) -> list[DamagedBlock]:
    """Reads every record of a cache and so every checksum.

    Args:
      path: of the cache.
      codecs: classes of one's own codecs, if it was built with any.

    Returns:
      The damaged blocks; empty if there are none.

    Raises:
      CacheError: there is no cache, it is not complete, or a document of it is damaged.
    """
    cache = Cache(path, codecs=codecs)
    return [block for segment in cache.segments for block in _damaged_blocks(segment)]


def _damaged_blocks(segment: Segment) -> Iterator[DamagedBlock]:
    if segment.content is not None:
        segment.digests()  # raises where the file is damaged
    for row in range(segment.num_views):
        view = segment.first_view + row
        for index in range(segment.blocks):
            pending = segment.read(view, segment.rows(index))
            for name in segment.layout:
                try:
                    pending.array(name)
                except CacheError as error:
                    yield DamagedBlock(name, view, index, str(error))
