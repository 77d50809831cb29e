"""What the examples of a segment are: a digest of each one's content, and its label."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxkd.cache._contract import CacheError, damaged
from jaxkd.data import Examples, Sequences
from jaxkd.data._digests import row_digests
from jaxkd.data._fields import by_name, describe_arrays, labeled_rows, take
from jaxkd.data._packing import next_tokens

# Of a segment whose examples come from data sets of several fingerprints.
MIXED = "mixed"
# Where a data set keeps the digest of its labels: in its own dictionary, as a cached property.
_KEY = "_label_digest"


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleDigests:
    """Contents and labels of some examples, as a segment keeps them in a file of its own.

    Attributes:
      fingerprint: that of the data set, by which equal contents are recognized at once.
      contents: uint64 `[n]`, as of `Examples.example_digests`.
      labels: int64 `[n]`, see `label_numbers`.
      label_kind: what the labels are, see `label_kind`; only those of one kind are compared.
    """

    fingerprint: str
    contents: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.int64]
    label_kind: bool | str

    @classmethod
    def of(cls, dataset: Examples, ids: np.ndarray) -> "ExampleDigests":
        """Computes the digests of some examples of a data set.

        Args:
          dataset: the examples.
          ids: example ids `[n]`.

        Returns:
          The digests, in the order of the ids.

        Raises:
          ValueError: digests that are not uint64 `[n]`, of a class of the user's own.
        """
        contents = np.asarray(dataset.example_digests(ids))
        if contents.shape != ids.shape or contents.dtype != np.uint64:
            raise ValueError(
                f"{type(dataset).__name__}.example_digests must return uint64[{len(ids)}], one "
                f"number for each id, not {contents.dtype}{list(contents.shape)}"
            )
        labels = label_numbers(dataset, dataset.rows(ids))
        return cls(dataset.fingerprint, contents, labels, label_kind(dataset))

    @classmethod
    def from_bytes(
        cls, path: str, name: str, content: bytes | None, description: Mapping[str, Any]
    ) -> "ExampleDigests":
        """Reads what `to_bytes` wrote.

        Args:
          path: path of the cache, for the message.
          name: name of the file, for the message.
          content: what the file holds, None if it is not there.
          description: what it should hold, as of `description`.

        Returns:
          The digests.

        Raises:
          CacheError: it holds something else.
        """
        content = content or b""
        if _sha256(content) != description["digests"]:
            raise CacheError(
                damaged(
                    path,
                    f"{name} should have the digest {description['digests']}, it has "
                    f"{_sha256(content)}",
                )
            )
        half = len(content) // 2
        return cls(
            description["fingerprint"],
            np.frombuffer(content[:half], "<u8").astype(np.uint64),
            np.frombuffer(content[half:], "<i8").astype(np.int64),
            description["labels_per_token"],
        )

    def to_bytes(self) -> bytes:
        """Returns contents and labels as little-endian numbers, one after the other."""
        return self.contents.astype("<u8").tobytes() + _label_bytes(self.labels)

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """What the description of a segment says of them, plain data."""
        return {
            "fingerprint": self.fingerprint,
            "labels": _sha256(_label_bytes(self.labels)),
            "labels_per_token": self.label_kind,
            "digests": _sha256(self.to_bytes()),
        }

    def rows(self, rows: Any) -> "ExampleDigests":
        """Returns those of some rows."""
        return dataclasses.replace(self, contents=self.contents[rows], labels=self.labels[rows])


def label_kind(dataset: Examples) -> bool | str:
    """Returns what kind of labels a data set has, of which a segment keeps numbers.

    Args:
      dataset: the examples.

    Returns:
      False: one class for each example; True: several classes for each one; a text that names
      dtypes and shapes: values, or label sets by name.
    """
    labels = dataset.labels
    if isinstance(labels, Mapping) or labels.dtype.kind == "f":
        return describe_arrays(labels)
    return bool(labels.ndim > 1)


def label_numbers(dataset: Examples, rows: Any = np.s_[:]) -> npt.NDArray[np.int64]:
    """Returns one number for the label, or the labels, of each of some examples.

    Args:
      dataset: the examples.
      rows: which of them.

    Returns:
      int64 `[n]`: the labels themselves; of several for each example a digest, or 0 where every
      label is the next token, which the row itself has. -1 means unlabeled.
    """
    labels = take(dataset.labels, rows)
    if label_kind(dataset) is False:
        return np.asarray(labels, np.int64)
    own = labeled_rows(labels)
    numbers = np.where(own, 0, -1).astype(np.int64)
    if isinstance(dataset, Sequences) and label_kind(dataset) is True:
        following = next_tokens(dataset.tokens[rows], dataset.documents[rows])
        # The last token of a row is followed by the first one of the next row.
        own = ((labels != following) & (labels >= 0))[:, :-1].any(axis=1)
    arrays = by_name(take(labels, own)).values()
    numbers[own] = row_digests("jaxkd labels", *arrays) >> np.uint64(1)
    return numbers


def label_digest(dataset: Examples) -> str:
    """Returns the digest of all labels of a data set, computed once for each data set."""
    known = dataset.__dict__
    if _KEY not in known:
        known[_KEY] = _sha256(_label_bytes(label_numbers(dataset)))
    return str(known[_KEY])


def join(parts: list[ExampleDigests]) -> ExampleDigests:
    """Joins the digests of several segments; equal fingerprints are kept.

    Args:
      parts: at least one.

    Returns:
      The digests of all, one part after the other.
    """
    fingerprints = {part.fingerprint for part in parts}
    return ExampleDigests(
        fingerprints.pop() if len(fingerprints) == 1 else MIXED,
        np.concatenate([part.contents for part in parts]),
        np.concatenate([_of_kind(part, parts[0].label_kind) for part in parts]),
        parts[0].label_kind,
    )


def _of_kind(part: ExampleDigests, kind: bool | str) -> np.ndarray:
    """Labels of a segment; unknown where they are of another kind."""
    return part.labels if part.label_kind == kind else np.full_like(part.labels, -1)


def _label_bytes(labels: np.ndarray) -> bytes:
    return labels.astype("<i8").tobytes()


def _sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
