"""`contract.json`: created once, by one of those who build at the same time."""

import re
import secrets
import warnings
from collections.abc import Mapping
from typing import Any

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError, damaged
from jaxkd.cache._identity import delete_identity, write_identity

FORMAT = 3
NAME = "contract.json"
# What a contract consists of besides its format: entry → the types that it may have.
_ENTRIES: Mapping[str, type] = {"id": str, "fields": dict, "identity": list}
# The summary of rendered views that format 2 has for the document of identity of the views.
_PROBE = "probe"


def read_contract(path: str) -> dict[str, Any] | None:
    """Reads the contract of a cache.

    Args:
      path: path of the cache.

    Returns:
      The contract, in all entries of the right type; None if there is none.

    Raises:
      CacheError: a damaged one, or one of a format that this release does not read.
    """
    document = _store.read_document(path, NAME)
    if document is not None:
        _check(path, document)
    return document


def create_contract(
    path: str,
    fields: Mapping[str, Any],
    probe: Mapping[str, Any] | None,
    identity: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Creates a cache, or finds the one that somebody else created in the meantime.

    Args:
      path: path of the cache, without a contract a moment ago.
      fields: fields of the contract.
      probe: summary of rendered views, of a cache of format 2 without another one.
      identity: kind → document of identity.

    Returns:
      The contract as it lies on disk, which is not this one if somebody else was faster: compare.

    Raises:
      CacheError: what somebody else created is not of this format.
    """
    cache_id = secrets.token_hex(16)
    document = {
        "format": FORMAT,
        "id": cache_id,
        "fields": dict(fields),
        "identity": sorted(identity),
        **({} if probe is None else {_PROBE: dict(probe)}),
    }
    # First: from the moment that there is a contract, others rely on its documents.
    for kind, content in identity.items():
        write_identity(path, cache_id, kind, content)
    _store.create_document(path, NAME, document)
    # What lies there decides, also where a store does not know conditional writes.
    there = read_contract(path)
    if there is None:
        raise CacheError(f"the cache {path} was deleted while it was being created: build it again")
    if there["format"] != FORMAT or there["id"] != cache_id:
        delete_identity(path, cache_id)
    return there


def _check(path: str, document: Mapping[str, Any]) -> None:
    """Refuses a contract of another format, or with entries that are missing or of another type."""
    written = document.get("format")
    if written not in (2, FORMAT):
        raise CacheError(
            f"the cache {path} has the format {written}, this release reads format {FORMAT}: use "
            "the release of jaxkd-distill that wrote it, or build it anew"
        )
    entries = {"fields": dict, _PROBE: dict} if written == 2 else dict(_ENTRIES)
    if _PROBE in document:
        entries[_PROBE] = dict
    for name, kind in entries.items():
        if not isinstance(document.get(name), kind):
            raise CacheError(
                damaged(
                    path,
                    f"the entry {name!r} of {NAME} should be a {kind.__name__}, it is "
                    f"{document.get(name)!r}",
                )
            )
    if written == FORMAT and not re.fullmatch("[0-9a-f]{32}", document["id"]):
        raise CacheError(
            damaged(
                path,
                f"the id of {NAME} should be 32 hexadecimal digits, it is {document['id']!r}",
            )
        )


def warn_of_format_2(path: str, document: Mapping[str, Any]) -> None:
    """Warns, once for a path, that not everything can be checked of a cache of format 2."""
    if document["format"] == 2:
        warnings.warn(
            f"the cache {path} has format 2, which does not bind records to their place and keeps "
            "no outputs of the teacher to compare with: neither can be checked. Convert it: "
            f"python -m jaxkd.cache convert {path}",
            stacklevel=3,
        )
