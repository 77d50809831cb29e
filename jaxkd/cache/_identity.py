"""Side documents of identity: what the teacher and the views of a cache compute.

The fields of the contract are compared at a glance; these documents hold the evidence, which may be
large. They lie in `identity/<id of the cache>/<kind>.json` and are written before the contract, so
that a contract is never without them; each carries the id of its cache and its kind, so that one of
another cache, or of another kind, does not pass for it.
"""

from collections.abc import Mapping
from typing import Any

from jaxkd.cache import _store
from jaxkd.cache._contract import CacheError, damaged

FOLDER = "identity/"


class _Entries(dict[str, Any]):
    """Entries of a document; a missing one is damage, not a mistake of the caller."""

    _path: str
    _name: str

    @classmethod
    def of(cls, path: str, name: str, entries: Mapping[str, Any]) -> "_Entries":
        """Returns the entries, and those of documents within them, with the name of their file."""
        made = cls(
            {k: cls.of(path, name, v) if isinstance(v, dict) else v for k, v in entries.items()}
        )
        made._path, made._name = path, name
        return made

    def __missing__(self, key: str) -> Any:
        raise CacheError(
            damaged(self._path, f"{self._name} has no entry {key!r}, it has {sorted(self)}")
        )


def write_identity(path: str, cache_id: str, kind: str, document: Mapping[str, Any]) -> None:
    """Writes a document of identity, or replaces it.

    Args:
      path: path of the cache.
      cache_id: the `id` of its contract.
      kind: `"teacher"` or `"views"`.
      document: what JSON can hold.
    """
    bound = {**document, "cache": cache_id, "kind": kind}
    _store.write_document(path, _name(cache_id, kind), bound)


def read_identity(path: str, document: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Reads a document of identity.

    Args:
      path: path of the cache.
      document: its contract.
      kind: `"teacher"` or `"views"`.

    Returns:
      The document as it was given; None if the cache was written without one of this kind, as all
      of format 2 were.

    Raises:
      CacheError: the document is gone, damaged, or one of another cache or kind.
    """
    if kind not in document.get("identity", ()):
        return None
    name = _name(document["id"], kind)
    found = _store.read_document(path, name)
    if found is None:
        raise CacheError(damaged(path, f"{name} is missing"))
    bound = {"cache": document["id"], "kind": kind}
    belongs = {key: found.pop(key, None) for key in bound}
    if belongs != bound:
        raise CacheError(damaged(path, f"{name} belongs to {belongs}, it should belong to {bound}"))
    return _Entries.of(path, name, found)


def delete_identity(path: str, cache_id: str) -> None:
    """Deletes all documents of identity that were written for an id."""
    for name in _store.names(path, f"{FOLDER}{cache_id}/"):
        _store.write_bytes(path, name, None)


def delete_other_identities(path: str, cache_id: str) -> None:
    """Deletes documents of those who were about to create a cache where there is one now.

    Args:
      path: path of the cache.
      cache_id: the `id` of its contract.
    """
    for name in _store.names(path, FOLDER):
        if not name.startswith(f"{FOLDER}{cache_id}/"):
            _store.write_bytes(path, name, None)


def _name(cache_id: str, kind: str) -> str:
    return f"{FOLDER}{cache_id}/{kind}.json"
