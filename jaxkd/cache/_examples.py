"""Identity by example: a data set may grow, shrink or be re-ordered; what changed is refused."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._contract import CacheError
from jaxkd.cache._example_digests import ExampleDigests, label_digest, label_kind, label_numbers
from jaxkd.cache._segment import Segment
from jaxkd.data import Examples
from jaxkd.data._encoded_images import describe
from jaxkd.targets import Codec

_REMEDY = (
    "jaxkd.cache.subset(path, target, dataset=dataset), then jaxkd.cache.extend(target, teacher, "
    "dataset, views)"
)
CONTENTS, LABELS, FINGERPRINT = "dataset.examples", "dataset.labels", "dataset.fingerprint"


def check_examples(
    path: str,
    fields: Mapping[str, Any],
    found: Sequence[Segment],
    dataset: Examples,
    codecs: Mapping[str, Codec],
    allow: Collection[str] = (),
) -> np.ndarray:
    """Refuses a data set in which examples that the cache holds have changed.

    Where a segment was written from a data set of the same fingerprint, nothing is computed. Other
    contents are compared example by example. Labels are compared always, except where one side has
    none: a teacher's outputs do not depend on them, what a student learns does.

    Args:
      path: path of the cache, for the message.
      fields: those of its contract.
      found: its segments.
      dataset: the examples, which need not be all of the cache's, nor all be in it.
      codecs: output name → codec.
      allow: names of fields that may differ.

    Returns:
      int32 ids of the examples that differ, where these are allowed to: comparing how they are
      rendered would be of no use.

    Raises:
      CacheError: names how many examples differ, and which ones.
    """
    described = [segment for segment in found if segment.content is not None]
    if len(described) < len(found) or not found:
        # Nothing is known of single examples: the data set is the same as a whole, or another one.
        _contract.check(path, fields, {FINGERPRINT: dataset.fingerprint}, allow)
    changed = changed_ids(described, dataset)
    if len(changed) and CONTENTS not in allow:
        _refuse_contents(path, changed, dataset, described, "views.partners" in fields)
    _check_labels(path, described, dataset, codecs, allow)
    return changed


def changed_ids(found: Sequence[Segment], dataset: Examples) -> np.ndarray:
    """Returns the examples of segments whose content in a data set is another one.

    Args:
      found: segments with digests.
      dataset: the examples.

    Returns:
      int32 ids, ascending.
    """
    other = [s for s in found if _content(s)["fingerprint"] != dataset.fingerprint]
    common = [(segment, *_common(segment, dataset)) for segment in other]
    ids = np.unique(np.concatenate([*(s.ids[rows] for s, rows, _ in common), _none()]))
    if not len(ids):
        return ids
    current = ExampleDigests.of(dataset, ids).contents
    changed = []
    for segment, rows, _ in common:
        stored, held = segment.digests().contents[rows], segment.ids[rows]
        changed.append(held[stored != current[np.searchsorted(ids, held)]])
    return np.unique(np.concatenate(changed))


def same_examples(one: Examples, other: Examples, ids: np.ndarray) -> bool:
    """Compares the content of some examples in two data sets.

    Args:
      one: a data set that has them.
      other: another one that has them.
      ids: example ids `[n]`.

    Returns:
      Whether it is the same.
    """
    return one.fingerprint == other.fingerprint or np.array_equal(
        one.example_digests(ids), other.example_digests(ids)
    )


def unchanged_ids(
    found: Sequence[Segment], dataset: Examples, codecs: Mapping[str, Codec]
) -> np.ndarray:
    """Returns the examples of a data set whose records in some segments are still right.

    Args:
      found: segments of a cache.
      dataset: the examples.
      codecs: output name → codec.

    Returns:
      int32 ids, ascending.

    Raises:
      CacheError: segments without digests.
    """
    if nameless := [segment for segment in found if segment.content is None]:
        raise CacheError(
            f"the cache {nameless[0].path} does not say what its examples are, as none of format 2 "
            "does: which of them changed cannot be told. Build another cache"
        )
    held = [segment.ids for segment in found]
    changed = [changed_ids(found, dataset)]
    if _keeping(codecs):
        changed += [ids for s in found for ids, _, _ in _other_labels(s, dataset)]
    kept = np.intersect1d(np.concatenate(held), dataset.ids)
    return np.setdiff1d(kept, np.concatenate(changed), assume_unique=True)


def mend_digests(found: Sequence[Segment], dataset: Examples) -> None:
    """Writes digests anew that are gone or damaged, where a data set has what they describe.

    Args:
      found: segments that are being written.
      dataset: the examples.

    Raises:
      CacheError: digests that are damaged, of other examples than these.
    """
    for segment in found:
        if segment.content is None:
            continue
        try:
            segment.digests()
        except CacheError:
            if not np.isin(segment.ids, dataset.ids).all():
                raise
            digests = ExampleDigests.of(dataset, segment.ids)
            if digests.description["digests"] != segment.content["digests"]:
                raise
            segment.write_digests(digests)


def check_parts(found: Sequence[Segment], allow: Collection[str] = ()) -> None:
    """Refuses to join segments that hold views of one example with different contents or labels.

    Args:
      found: segments of several caches, each with digests.
      allow: names of fields that may differ.

    Raises:
      CacheError: names both caches, how many examples differ, and which ones.
    """
    first = found[0]
    for other in found[1:]:
        if _content(first)["digests"] == _content(other)["digests"]:
            continue
        _, rows, other_rows = np.intersect1d(first.ids, other.ids, True, return_indices=True)
        one, two = first.digests().rows(rows), other.digests().rows(other_rows)
        labels = (one.labels != two.labels) & (one.labels >= 0) & (two.labels >= 0)
        labels &= one.label_kind == two.label_kind
        for field, differ in ((CONTENTS, one.contents != two.contents), (LABELS, labels)):
            if differ.any() and field not in allow:
                raise CacheError(
                    f"the caches {first.path} and {other.path} do not belong together:\n  {field}: "
                    f"{_count(differ, first.ids[rows])} are not the same in both. Build both from "
                    "one data set"
                )


def _refuse_contents(
    path: str, changed: np.ndarray, dataset: Examples, found: Sequence[Segment], mixes: bool
) -> None:
    if mixes or len(changed) == len(dataset):
        remedy = "Open it with the data set that it was built with, or build another cache"
    else:
        remedy = f"Keep the records of all others and compute these anew: {_REMEDY}"
    if _renamed(changed, dataset, found):
        remedy = (
            "All of these contents are there under other ids. If examples only moved, give them "
            f"the ids that they had: Dataset.from_arrays(…, ids=ids). Otherwise: {remedy}"
        )
    raise CacheError(
        f"the cache {path} does not belong to this run:\n  {CONTENTS}: the cache has "
        f"{len(changed)} of these {len(dataset)} examples with another content, ids "
        f"[{', '.join(describe(dataset, changed[:5]))}] first\n{remedy}. To let them differ, name "
        f"it: allow={{{json.dumps(CONTENTS)}}}"
    )


def _renamed(changed: np.ndarray, dataset: Examples, found: Sequence[Segment]) -> bool:
    """Whether the cache holds the examples that differ, each under another id."""
    current = ExampleDigests.of(dataset, changed).contents
    stored = [segment.digests().contents for segment in found]
    return bool(np.isin(current, np.concatenate(stored)).all())


def _check_labels(
    path: str,
    found: Sequence[Segment],
    dataset: Examples,
    codecs: Mapping[str, Codec],
    allow: Collection[str],
) -> None:
    keeping = _keeping(codecs)
    if LABELS in allow and not keeping:
        return
    for segment in found:
        for ids, stored, current in _other_labels(segment, dataset):
            values = f": {stored} there, {current} in this run"
            values = "" if label_kind(dataset) is not False else values
            what = (
                f"the cache {path} does not belong to this run:\n  {LABELS}: the cache has other "
                f"labels of {len(ids)} of these {len(dataset)} examples, ids {ids[:5].tolist()} "
                f"first{values}\n"
            )
            if keeping:
                raise CacheError(
                    f"{what}{keeping[0]} stored the class of each label, so labels cannot differ: "
                    "use those that the cache was built with, or keep the records of all others "
                    f"and compute these anew: {_REMEDY}"
                )
            raise CacheError(
                f"{what}Outputs of a teacher do not depend on labels: where these were changed on "
                f"purpose, name it: allow={{{json.dumps(LABELS)}}}"
            )


def _keeping(codecs: Mapping[str, Codec]) -> list[Codec]:
    """The codecs whose records depend on labels."""
    return [codec for codec in codecs.values() if "labels" in codec.needs]


def _other_labels(
    segment: Segment, dataset: Examples
) -> Iterator[tuple[np.ndarray, list[int], list[int]]]:
    """Ids whose labels differ, and the first labels of both sides; nothing if none do."""
    content = _content(segment)
    same_ids = np.array_equal(segment.ids, dataset.ids)
    if content["labels_per_token"] != label_kind(dataset) or (
        same_ids and label_digest(dataset) == content["labels"]
    ):
        return
    rows, own_rows = _common(segment, dataset)
    stored = segment.digests().labels[rows]
    current = label_numbers(dataset, own_rows)
    differ = (stored != current) & (stored >= 0) & (current >= 0)
    if differ.any():
        first = np.flatnonzero(differ)[:5]
        yield segment.ids[rows][differ], stored[first].tolist(), current[first].tolist()


def _common(segment: Segment, dataset: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the examples that both have, in the segment and in the data set."""
    _, rows, own_rows = np.intersect1d(
        segment.ids, dataset.ids, assume_unique=True, return_indices=True
    )
    return rows, own_rows


def _content(segment: Segment) -> Mapping[str, Any]:
    assert segment.content is not None
    return segment.content


def _count(differ: np.ndarray, ids: np.ndarray) -> str:
    return f"{differ.sum()} of {differ.size} examples, ids {ids[differ][:5].tolist()} first,"


def _none() -> np.ndarray:
    return np.empty(0, np.int32)
