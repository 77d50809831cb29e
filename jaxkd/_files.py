"""Files and texts of others: paths, JSON, Markdown, terminals of any encoding, and whole writes."""

import contextlib
import io
import json
import os
import pathlib
import re
import sys
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any

# Nobody nests documents deeper, and Python's own stack ends at 1,000.
_DEEPEST = 100
_TOO_DEEP = f"it is nested deeper than {_DEEPEST} levels"


def print_any_text() -> None:
    """Has characters that the terminal's encoding lacks printed as `?`, not raised as an error.

    Under `LC_ALL=C` or a Windows code page, a `±` or a name would otherwise end a program after
    its work is done.
    """
    for stream in (sys.stdout, sys.stderr):
        # Streams that a notebook or a test puts there take any text already.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file that others may have written.

    Args:
      path: path of the file.

    Returns:
      Its content.

    Raises:
      ValueError: it is no JSON, is nested too deeply, or gives a name twice; names the file.
    """
    try:
        return parse_json(local_path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as JSON: {error}") from error


def parse_json(
    text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Parses JSON that others may have written.

    Args:
      text: the text, bytes in UTF-8.
      pairs: makes an object of its names and values. None: a dictionary, of names given once.

    Returns:
      Its content.

    Raises:
      JSONDecodeError: a ValueError: the text is no JSON, is nested too deeply, or gives a name
        twice.
    """
    try:
        found = json.loads(text, object_pairs_hook=pairs or _unique)
    except RecursionError:
        raise json.JSONDecodeError(_TOO_DEEP, "", 0) from None
    containers, depth = [found], 0
    while containers := [inner for one in containers for inner in _containers(one)]:
        depth += 1
        if depth >= _DEEPEST:
            raise json.JSONDecodeError(_TOO_DEEP, "", 0)
    return found


def _containers(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [one for one in inner if isinstance(one, dict | list)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise json.JSONDecodeError(f"it gives {twice!r} twice", "", 0)
    return found


# What Markdown reads as markup inside a line: code, emphasis, tables, formulas, tags, links,
# images, characters by name. An underscore inside a word is none.
_MARKUP = re.compile(
    r"[\\`*|~$]|(?<!\w)_|_(?!\w)|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|!(?=\[)|\[(?=.*\](\(|\[))"
)


def escape_markdown(text: object) -> str:
    r"""Returns a text that Markdown shows as it is, in one line of a paragraph or cell of a table.

    Args:
      text: the text of others.

    Example:
      >>> print(escape_markdown("a|b\n<img> `c` *d* e_f"))
      a\|b \<img> \`c\` \*d\* e_f
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(text).split()))


def local_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the absolute path of a file or directory of this machine.

    Args:
      path: a path, with `~` for the home directory and `..` wherever it stands, or a `file://` URL.

    Raises:
      ValueError: an empty path, another URL, or the home directory of a user that is not known.

    Example:
      >>> local_path("file:///data/a%20b/").as_posix(), local_path("/data/x/../y").as_posix()
      ('/data/a b', '/data/y')
    """
    text = os.fspath(path)
    kind, separator, _ = text.partition("://")
    if separator and kind == "file":
        url = urllib.parse.urlsplit(text)
        if url.netloc not in ("", "localhost") or url.query or url.fragment:
            raise ValueError(f"{text!r} is no file of this machine: write file:///folder/name")
        text = urllib.parse.unquote(url.path)
    elif separator and kind.isalnum():
        raise ValueError(f"{text!r} is a URL, and a path of this machine is wanted")
    elif re.match(r"[a-z][a-z0-9]+:/", text):
        raise ValueError(
            f"{text!r} is a URL that lost a slash: give it as a text, not as a pathlib.Path"
        )
    if not text.strip():
        raise ValueError("the path is empty: name a file or folder, or write '.' for this one")
    try:
        place = pathlib.Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{text!r} begins with ~, and {error}: write the whole path") from error
    # Beyond a symbolic link, ".." is the folder of what the link names.
    return place.resolve() if ".." in place.parts else place


def file_in_the_way(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns what keeps a folder from being made: a file at its path or at one above it.

    Args:
      folder: absolute path of the folder.
    """
    return next((each for each in (folder, *folder.parents) if each.is_file()), None)


@contextlib.contextmanager
def writing(file: pathlib.Path) -> Iterator[None]:
    """Has an error of the system while a file is written name that file, and the remedy.

    Args:
      file: path of the file, for the message.

    Yields:
      Nothing.

    Raises:
      OSError: the error of the system, such as a full disk.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (code := re.search(r"\(os error (\d+)\)", str(error))):
            number = int(code[1])  # as libraries written in Rust tell it
        # What names a file already is another error: a folder that is not there, for instance.
        if number is None or getattr(error, "filename", None) is not None:
            raise
        remedy = "what was there is as before; make room, or choose another place"
        raise OSError(number, f"{os.strerror(number)}; {remedy}", str(file)) from error


@contextlib.contextmanager
def replacing(file: pathlib.Path) -> Iterator[pathlib.Path]:
    """Has a file replaced as a whole: after an error or a crash it is as it was before.

    Args:
      file: path of the file, in a directory that is there.

    Yields:
      Path of a temporary file of the same suffix, to be written.
    """
    temporary = _beside(file)
    try:
        with writing(file):
            yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(file: pathlib.Path, contents: str | bytes) -> None:
    """Replaces a file's content, so that after a crash it is the old one or the new one.

    Args:
      file: path of the file, in a directory that is there.
      contents: bytes, or text to write as UTF-8.
    """
    with replacing(file) as temporary:
        _write_through(temporary, contents)


def create(file: pathlib.Path, contents: str | bytes) -> bool:
    """Creates a file with its whole content, unless there is one of its name already.

    Args:
      file: path of the file, in a directory that is there.
      contents: bytes, or text to write as UTF-8.

    Returns:
      Whether it was created; of several processes that try at once, one succeeds.
    """
    temporary = _beside(file)
    try:
        with writing(file):
            _write_through(temporary, contents)
        try:
            os.link(temporary, file)
        except FileExistsError:
            # A file system of the network may report this of its own repeated request.
            return temporary.stat().st_nlink > 1
        except OSError:  # a file system without links
            try:
                with open(file, "xb") as stream:
                    stream.write(temporary.read_bytes())
            except FileExistsError:
                return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _beside(file: pathlib.Path) -> pathlib.Path:
    """Returns a temporary name that no other thread, process or host has."""
    return file.with_name(f".{uuid.uuid4().hex}.{file.name}")


def _write_through(file: pathlib.Path, contents: str | bytes) -> None:
    with open(file, "wb") as stream:
        stream.write(contents if isinstance(contents, bytes) else contents.encode())
        stream.flush()
        os.fsync(stream.fileno())
