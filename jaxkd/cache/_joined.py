"""Documents of identity of several caches that become one: compared with each other, and joined."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _behavior, _contract, _rendering
from jaxkd.cache._sketch import read_spots, rows_of, sort_spots, unpacked

Document = Mapping[str, Any]


def joined_identity(
    contracts: Sequence[tuple[str, Document]], allow: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Compares what several caches keep of their teacher and views, and joins it.

    Args:
      contracts: path and contract of each; the contracts have the same fields.
      allow: names of fields that may differ: `"teacher.outputs"`, `"views.probe"`.

    Returns:
      Kind → document of identity of all examples together.

    Raises:
      CacheError: teachers or views that compute something else.
    """
    joined = {}
    for kind, field, count, same in (
        ("teacher", "teacher.outputs", _behavior.SPOTS, _same_outputs),
        ("views", "views.probe", _rendering.SPOTS, _same_views),
    ):
        documents = [read_spots(path, contract, kind) for path, contract in contracts]
        known = [document for document in documents if document is not None]
        for other in known[1:]:
            _check(contracts[0][0], field, known[0], other, same, allow)
        if known:
            joined[kind] = _join(known, count)
    return joined


def _check(
    path: str,
    field: str,
    one: Document,
    other: Document,
    same: Callable[[Document, Document, np.ndarray, np.ndarray], bool],
    allow: Collection[str],
) -> None:
    """Refuses two documents of another program, unless both give the same where both know it."""
    programs = [(d["program"], d["jax_version"]) for d in (one, other)]
    if programs[0] == programs[1] and programs[0][0] is not None:
        return
    rows, others = _common(one, other)
    if len(rows):
        agree = same(one, other, rows, others)
    else:
        # Examples that only one of them has, and a program that is not visible: nothing to compare.
        comparable = programs[0][1] == programs[1][1] and None not in (p for p, _ in programs)
        agree = not comparable
    if not agree:
        seen = f"{len(rows)} examples and views of both"
        _contract.check(
            path,
            {field: f"the program {programs[0][0]}, compared on {seen}"},
            {field: f"the program {programs[1][0]}, another one"},
            allow,
            "Merge caches of one teacher, one code of its network and one of the views. To let "
            f'them differ, name it: allow={{"{field}"}}',
        )


def _common(one: Document, other: Document) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the spots that both documents have."""
    places = [
        [(i, v) for i, v in zip(d["spots"]["ids"], d["spots"]["views"], strict=True)]
        for d in (one, other)
    ]
    position = {place: row for row, place in enumerate(places[1])}
    pairs = [(row, position[p]) for row, p in enumerate(places[0]) if p in position]
    rows, others = np.array(pairs, np.int64).reshape(-1, 2).T
    return rows, others


def _same_outputs(one: Document, other: Document, rows: np.ndarray, others: np.ndarray) -> bool:
    rounding = max(one["rounding"], other["rounding"])
    return all(
        _behavior.agree(unpacked(kept), rows, unpacked(other["outputs"][name])[others], rounding)
        for name, kept in one["outputs"].items()
    )


def _same_views(one: Document, other: Document, rows: np.ndarray, others: np.ndarray) -> bool:
    kept, own = (unpacked(document["sketches"]) for document in (one, other))
    return not _rendering.differing(kept, rows, own[others]).any()


def _join(documents: Sequence[Document], count: int) -> dict[str, Any]:
    """The spots of all documents, or those of the first hashes among them."""
    first = documents[0]
    # Digests of bytes of two platforms are not to be mixed.
    alike = [d for d in documents if d.get("platform") == first.get("platform")]
    whole = rows_of(alike)
    if "rounding" in first:
        whole["rounding"] = max(document["rounding"] for document in alike)
    chosen = sort_spots(whole["spots"]["ids"], whole["spots"]["views"])[:count]
    return rows_of([whole], chosen)
