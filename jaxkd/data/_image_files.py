"""Image files of a folder, by position: listed without being opened, read one at a time."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Pillow reads the last line with a plugin, or in newer versions: named, if not read, when they are.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
    + (".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
    + (".heic", ".heif", ".avif", ".jxl")
)
# Folders that file managers and archives leave behind; hidden ones begin with a dot.
_LEFT_BEHIND = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")


class ImageFiles(Sequence[bytes]):
    """The contents of image files by position, for `EncodedImages`.

    Nothing is open between two reads, so that it is pickled for worker processes as it is.

    Args:
      root: folder of the files.
      paths: paths of the files relative to it, with `/`.
      digests: digest of each content, where all have been read.
      skipped: path → reason, of files that were left out because they cannot be decoded.
    """

    def __init__(
        self,
        root: str,
        paths: Sequence[str],
        digests: npt.NDArray[np.uint64] | None = None,
        skipped: Mapping[str, str] | None = None,
    ):
        self.root, self.paths, self.digests = root, tuple(paths), digests
        self.skipped = dict(skipped or {})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: Any) -> bytes:  # type: ignore[override]
        with open(self.full_path(position), "rb") as file:
            return file.read()

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"ImageFiles({self.root!r}: {len(self)} files{skipped})"

    def full_path(self, position: int) -> str:
        """Returns the path by which a file is opened."""
        return os.path.join(self.root, self.paths[position])


def list_images(root: str) -> tuple[list[str], list[str]]:
    """Finds image files and folders, in the order of their names.

    Links are followed, except into a folder that they lie in. Hidden files and folders are passed
    over, as is what is no image by its suffix, in whatever case this is written.

    Args:
      root: folder to look in.

    Returns:
      Paths of the images relative to the folder, with `/`, and names of the folders in it.

    Raises:
      FileNotFoundError: there is no such folder.
      NotADirectoryError: it is a file.
    """  # noqa: DOC502 - of `os.scandir`
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and _is_shown(entry))
    return sorted(_images(root, "", (os.path.realpath(root),))), folders


def _images(folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_shown(entry):
                continue
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else ""
                # A link to a folder that this one lies in would be followed without end.
                if real not in above:
                    inside = (*above, real or os.path.join(above[-1], entry.name))
                    yield from _images(entry.path, f"{prefix}{entry.name}/", inside)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield prefix + entry.name  # a broken link as well, which is named when it is read


def _is_shown(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.name not in _LEFT_BEHIND
