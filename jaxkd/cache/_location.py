"""Where a cache lies: one name for each directory or URL, the first contact, errors of the system.

TensorStore tells errors of the operating system and of a network in a ValueError. Here they become
the OSError that they are, with what to do; a ValueError that remains says that a file is damaged.
"""

import errno
import os
import re
import socket
import time
from typing import Any

from jaxkd._files import file_in_the_way, local_path
from jaxkd.cache._contract import CacheError

Path = str | os.PathLike[str]

# Longest wait for the first answer of a store behind a network, and how often it is tried. Later
# requests are repeated for minutes, as TensorStore does by default: what has answered once comes
# back.
_CONTACT_SECONDS = 20.0
_RETRIES = {"max_retries": 4, "initial_delay": "0.2s", "max_delay": "2s"}
_CONTEXT = {f"{kind}_request_retries": _RETRIES for kind in ("s3", "gcs", "http")}
_LOCAL = ("file", "memory")
# Stores that have answered this process.
_contacted: set[str] = set()

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# A file that is gone or is a directory is damage of the cache, no error of the system.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


def normalized(path: Path) -> str:
    """Returns the one name of a directory or URL, whatever the working directory is later.

    Args:
      path: a directory, relative ones and `~` too, or a URL, that of a file (`file://`) too.

    Raises:
      CacheError: an empty path, that of a file, or a URL that names no one place.
      TypeError: a path in bytes.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"the path of a cache is a text or a pathlib.Path, not {path!r}")
    kind, separator, rest = text.partition("://")
    if not separator or kind == "file":
        try:
            place = local_path(text)
        except ValueError as error:
            raise CacheError(f"{text!r} is no path of a cache: {error}") from error
        if file := file_in_the_way(place):
            raise CacheError(f"a cache is a directory, {file} is a file: choose another path")
        return str(place)
    parts = rest.rstrip("/").split("/")
    if not parts[0] or any(part in ("", ".", "..") for part in parts[1:]):
        raise CacheError(f"{text!r} is no URL of a cache: write {kind}://bucket/folder/name")
    return f"{kind}://{'/'.join(parts)}"


def location(path: Path) -> dict[str, Any] | str:
    """Returns TensorStore's specification of a directory or URL.

    Stores that speak S3 elsewhere than at Amazon are found by the variables that Amazon's own tools
    read: `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, and `AWS_REGION`.

    Args:
      path: as of `normalized`.
    """
    text = normalized(path)
    kind, separator, rest = text.partition("://")
    if not separator:
        return {"driver": "file", "path": text.rstrip("/") + "/"}
    bucket, _, folder = rest.partition("/")
    named = {"bucket": bucket, "path": folder and folder + "/"}
    if kind == "s3" and (endpoint := _endpoint()):
        region = os.environ.get("AWS_REGION", "us-east-1")
        return {"driver": "s3", **named, "endpoint": endpoint, "aws_region": region}
    if kind in ("s3", "gs"):  # not as a URL, in which a space or a "%" would mean another key
        return {"driver": "s3" if kind == "s3" else "gcs", **named}
    return text + "/"


def open_files(path: Path) -> Any:
    """Opens a directory or URL as a TensorStore key-value store.

    Args:
      path: as of `normalized`.

    Returns:
      The store, which has answered this process at least once.

    Raises:
      CacheError: a URL of another kind.
      OSError: a store behind a network refuses; names it.
      TimeoutError: it does not answer.
    """
    import tensorstore as ts

    place = location(path)
    if isinstance(place, dict) and place["driver"] in _LOCAL:
        return ts.KvStore.open(place).result()
    store = _store_of(place)
    if store in _contacted:
        return result(ts.KvStore.open(place), path)
    context, deadline = ts.Context(_CONTEXT), time.monotonic() + _CONTACT_SECONDS
    try:
        files = ts.KvStore.open(place, context=context).result(timeout=_CONTACT_SECONDS)
        files.read("contract.json").result(timeout=max(0.1, deadline - time.monotonic()))
    except TimeoutError:
        raise TimeoutError(
            errno.ETIMEDOUT,
            f"{store} has not answered within {_CONTACT_SECONDS:g} s, for the cache {path}: check "
            "the address (for S3 also AWS_ENDPOINT_URL_S3), the network and the credentials",
        ) from None
    except ValueError as error:
        raise os_error(error, path) or CacheError(
            f"the cache {path} cannot be opened: {error}. Caches lie in directories, and under "
            "s3:// and gs://"
        ) from error
    _contacted.add(store)
    return ts.KvStore.open(place).result()


def check_writable(path: Path) -> None:
    """Refuses a place that nothing can be written to, before anything is computed for it.

    Args:
      path: as of `normalized`.

    Raises:
      OSError: the error of the system, with the remedy.
    """  # noqa: DOC502 - of `result`
    files, name = open_files(path), f".probe.{socket.gethostname()}.{os.getpid()}"
    result(files.write(name, b"\0" * 4096), path, 4096)
    result(files.write(name, None), path)


def result(future: Any, path: Path, size: int = 0) -> Any:
    """Waits for an operation of TensorStore.

    Args:
      future: the operation.
      path: path of the cache, for the message.
      size: number of bytes that it writes, for the message.

    Returns:
      Its result.

    Raises:
      OSError: the error of the system, with the remedy.
      ValueError: any other error.
    """
    try:
        return future.result()
    except NotImplementedError as error:  # http:// only reads
        raise OSError(
            errno.EROFS,
            f"{_store_of(location(path))} cannot do this ({error}): copy the cache {path} to a "
            "directory, or to s3:// or gs://",
        ) from error
    except ValueError as error:
        if found := os_error(error, path, size):
            raise found from error
        raise


def os_error(error: ValueError, path: Path, size: int = 0) -> OSError | None:
    """Returns the error of the system that one of TensorStore's tells; None if it tells of none.

    Args:
      error: the error.
      path: path of the cache, for the message.
      size: number of bytes that were to be written, for the message.
    """
    text = str(error)
    if code := re.search(r"os_error_code='(\d+)'", text):
        number = int(code[1])
        if number in _MISSING:
            return None
        why = os.strerror(number)
        if number in _FULL:
            wanted = f" {size:,} bytes" if size else ""
            return OSError(
                number,
                f"{why}: the cache {path} cannot take{wanted} more. Make room and build again with "
                "the same arguments: what is there stays, only the rest is computed",
            )
        remedy = "make it writeable and build again, or choose another path"
        if number not in _FORBIDDEN:
            remedy = "once that is mended, the same call goes on where this one ended"
        return OSError(number, f"{why}: the cache {path} ({text.splitlines()[0]}): {remedy}")
    if text.startswith(("PERMISSION_DENIED", "UNAUTHENTICATED")):
        return PermissionError(
            errno.EACCES,
            f"access to the cache {path} is denied ({text.splitlines()[0]}): check the credentials "
            "and what they allow",
        )
    if text.startswith(("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")):
        return ConnectionError(
            errno.ECONNREFUSED,
            f"{_store_of(location(path))} cannot be reached for the cache {path} "
            f"({text.splitlines()[0]}): check the address and the network. What has been written "
            "stays, and the same call goes on from there",
        )
    return None


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _store_of(place: dict[str, Any] | str) -> str:
    """Returns the store that a specification is in, whatever the folder."""
    if isinstance(place, str):
        return "/".join(place.split("/")[:3])
    return " at ".join(
        filter(None, (f"{place['driver']} {place.get('bucket')}", place.get("endpoint")))
    )
