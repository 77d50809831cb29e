"""Compressed files and archives of others: read as a stream, never more than they should hold.

A few kilobytes can decompress to gigabytes, and a member of an archive can be a link or be named as
a file elsewhere. Nothing is unpacked to disk here, members that are not wanted are not kept, and
what is larger than the published data are is refused before it is in memory.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath


def gunzip(path: Path, limit: int) -> bytes:
    """Decompresses a gzip file.

    Args:
      path: path of the file.
      limit: most bytes that it may decompress to.

    Returns:
      Its content.

    Raises:
      ValueError: it is no whole gzip file, or larger.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be decompressed: {error}") from error
    if len(content) > limit:
        raise ValueError(_larger(path, limit))
    return content


def inflate(content: bytes, limit: int) -> bytes:
    """Decompresses a zlib stream.

    Args:
      content: the stream.
      limit: most bytes that it may decompress to.

    Returns:
      What it holds.

    Raises:
      ValueError: it is no whole stream, or larger.
    """
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(content, limit + 1)
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from error
    if len(found) > limit:
        raise ValueError(_larger("it", limit))
    if not stream.eof:
        raise ValueError("it ends too early")
    return found


def tar_members(
    path: Path, wanted: Callable[[str], object], *, limit: int, total: int
) -> Iterator[tuple[str, bytes]]:
    """Reads some files of a gzipped tar archive.

    Args:
      path: path of the archive.
      wanted: whether a member of this name is read; the others are passed over.
      limit: most bytes of a member that is read.
      total: most bytes that the archive may decompress to.

    Yields:
      Name and content of each wanted member, in the order of the archive.

    Raises:
      ValueError: it is no such archive, is larger, or a wanted member is no plain file inside it.
    """
    try:
        with (
            gzip.open(path) as file,
            tarfile.open(
                fileobj=io.BufferedReader(_Limited(file, path, total)), mode="r|"
            ) as archive,
        ):
            for member in archive:
                if not wanted(member.name) or member.isdir():
                    continue
                place = PurePosixPath(member.name)
                if not member.isreg() or place.is_absolute() or ".." in place.parts:
                    raise ValueError(
                        f"{path} holds {member.name!r}, which is a link, a device or a file "
                        "outside of the archive's folder: take the published archive"
                    )
                if member.size > limit:
                    raise ValueError(_larger(f"{member.name!r} in {path}", limit))
                content = archive.extractfile(member)
                assert content is not None  # of a regular file
                yield member.name, content.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole .tgz: {error}") from error


class _Limited(io.RawIOBase):
    """A stream that ends in an error once more bytes were read than there should be."""

    def __init__(self, file: gzip.GzipFile, path: Path, limit: int):
        self._file, self._path, self._limit, self._read = file, path, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self._file.readinto(buffer)
        self._read += count
        if self._read > self._limit:
            raise ValueError(_larger(self._path, self._limit))
        return count


def _larger(what: object, limit: int) -> str:
    return f"{what} decompresses to more than {limit:,} bytes, and is not the published data"
