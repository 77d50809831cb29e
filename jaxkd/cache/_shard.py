"""Shard files, each bound to its place by a tag that is written in it.

A shard of Zarr 3 ends with an index of the chunks before it; bytes that the index does not refer to
are allowed. Between the chunks and the index stands a line of text that names the cache, the
segment, the array, the view and the block, so that a file which was copied, swapped or renamed is
found out, and the error says where it belongs.
"""

import dataclasses
import json
import re
import zlib
from typing import Any

from jaxkd._files import parse_json

# Around the text: what a search for the tag of another shard goes by.
_BEGIN, _END = b"\njaxkd ", b"\n"
_TAG = re.compile(rb"\njaxkd (\{[^\n]*\}) ([0-9a-f]{8})\n")


@dataclasses.dataclass(frozen=True)
class ShardTag:
    """Names the one place where a file of records belongs.

    Attributes:
      cache: id of the cache.
      segment: name of the segment.
      array: name of the array; `partial` for records of all arrays that wait for their block.
      view: number of the view.
      block: index of the block of examples.
    """

    cache: str
    segment: str
    array: str
    view: int
    block: int

    def __str__(self) -> str:
        return (
            f"block {self.block} of view {self.view} of the array {self.array!r} in the segment "
            f"{self.segment} of the cache {self.cache}"
        )

    def to_bytes(self) -> bytes:
        """Returns the line that is written into the file."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True).encode()
        return _BEGIN + text + f" {zlib.crc32(text):08x}".encode() + _END


def tag_in(content: bytes) -> ShardTag | None:
    """Finds the last whole tag in the content of a file; None if there is none."""
    for found in reversed(list(_TAG.finditer(content))):
        if zlib.crc32(found[1]) == int(found[2], 16):
            try:
                return ShardTag(**parse_json(found[1]))
            except (TypeError, ValueError):
                continue
    return None


def index_bytes(array: Any, block_size: int) -> int:
    """Returns the length of the index at the end of each shard of an open array.

    Args:
      array: TensorStore `[views, examples, ...]`.
      block_size: examples in a shard.
    """
    # Offset and length of each chunk, eight bytes each, and a checksum of them all.
    return 16 * (block_size // array.chunk_layout.read_chunk.shape[1]) + 4


def with_tag(shard: bytes, tag: ShardTag, index: int) -> bytes:
    """Returns a shard with a tag before its index, instead of one that it may have.

    Args:
      shard: content of the file.
      tag: where it is to belong.
      index: length of the index.
    """
    end = start = len(shard) - index
    old = tag_in(shard[max(0, end - 4096) : end])
    if old is not None and shard.endswith(old.to_bytes(), 0, end):
        start -= len(old.to_bytes())
    view = memoryview(shard)  # a shard is large: it is copied once
    return b"".join([view[:start], tag.to_bytes(), view[end:]])
