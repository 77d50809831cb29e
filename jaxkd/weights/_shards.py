"""Weights in several files, with or without an index; and pointers that stand in for files."""

import os
import pathlib
from collections.abc import Callable

import numpy as np

from jaxkd._files import read_json

_INDEX = ".index.json"
_POINTER = b"version https://git-lfs.github.com/spec/"

ReadFile = Callable[[pathlib.Path], dict[str, np.ndarray]]


def check_no_pointer(path: pathlib.Path) -> None:
    """Refuses the small text that git has where a large file was not downloaded.

    Args:
      path: path of a file.

    Raises:
      ValueError: the file is a pointer of git-LFS.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    if start.startswith(_POINTER):
        sizes = [line[5:] for line in start.decode().splitlines() if line.startswith("size ")]
        size = f" of {int(sizes[0]):,} bytes" if sizes and sizes[0].isdigit() else ""
        raise ValueError(
            f"{path} is a pointer of git-LFS, a text of {path.stat().st_size} bytes, and not the "
            f"file{size} itself: run `git lfs pull` in its repository, or download the file"
        )


def is_index(path: pathlib.Path) -> bool:
    """Returns whether a file says which arrays are in which of several files, by its name."""
    return path.name.endswith(_INDEX)


def index_of(directory: pathlib.Path) -> pathlib.Path | None:
    """Returns the index in a directory, None if it has none.

    Args:
      directory: the directory.

    Returns:
      Its path; that of `.safetensors` before one of PyTorch.

    Raises:
      ValueError: several of a kind.
    """
    found = sorted(directory.glob(f"*{_INDEX}"))
    preferred = [path for path in found if ".safetensors" in path.name] or found
    if len(preferred) > 1:
        raise ValueError(
            f"{directory} has the indices {[path.name for path in preferred]}: give the path of one"
        )
    return preferred[0] if preferred else None


def read_indexed(index: pathlib.Path, read_file: ReadFile) -> dict[str, np.ndarray]:
    """Reads the files that an index names.

    Args:
      index: path of the index; the files lie beside it.
      read_file: function that reads one of them.

    Returns:
      Name → array, of exactly the names in the index.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: the index is none, or names arrays that their files do not have.
    """
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise ValueError(f'{index} is no index of weights, {{"weight_map": {{name: file}}}}')
    files = sorted(set(places.values()))
    # A name with a slash would be a file elsewhere.
    if foreign := [name for name in files if pathlib.PurePath(name).name != name]:
        raise ValueError(f"{index} names {foreign[0]!r}, and its files lie in its own directory")
    if missing := [name for name in files if not (index.parent / name).exists()]:
        raise FileNotFoundError(
            f"{index.name} names {len(files)} files, of which {missing[:3]} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {index.parent}: download "
            f"{'it' if len(missing) == 1 else 'them'} there"
        )
    arrays: dict[str, np.ndarray] = {}
    for name in files:
        found = read_file(index.parent / name)
        wanted = [key for key, place in places.items() if place == name]
        if absent := [key for key in wanted if key not in found]:
            raise ValueError(
                f"{index.name} says that {absent[0]!r} is in {name}, which has no such array: the "
                "files are of another version than their index; download both again"
            )
        arrays |= {key: found[key] for key in wanted}
    return arrays


def read_parts(parts: list[pathlib.Path], read_file: ReadFile) -> dict[str, np.ndarray]:
    """Reads files that belong together, without an index.

    Args:
      parts: paths of the files.
      read_file: function that reads one of them.

    Returns:
      Name → array, of all of them.

    Raises:
      ValueError: two files have an array of one name.
    """
    arrays: dict[str, np.ndarray] = {}
    for part in parts:
        found = read_file(part)
        if double := sorted(arrays.keys() & found.keys()):
            raise ValueError(
                f"{double[0]!r} is in {part.name} and in another file of {os.fspath(part.parent)}: "
                "read the files that belong together one by one"
            )
        arrays |= found
    return arrays
