"""The base of all data sets: examples addressed by stable integer ids."""

import abc
import dataclasses
import functools
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data._fields import field_digests, take, without_labels

_READ = 256  # examples that are read at once to be hashed
_SHOWN = 5  # offending values that an error message lists


class Examples(abc.ABC):
    """Examples, each named by a stable integer `example_id`; a frozen dataclass derives from it.

    Loaders, evaluation and caches need no more than this, so that it makes no difference to them
    whether the examples lie in memory (`Dataset`), are decoded when they are read
    (`EncodedImages`), or are rows of tokens (`Sequences`).

    Attributes:
      name: name of the data set.
      version: its version.
      split: name of the split.
      ids: int32 `[n]`, unique, ascending.
      labels: int32 `[n, ...]` in `[-1, num_classes)`, where -1 does not count: one class for each
        example, token or pixel, or of shape `[n, ..., num_classes]` one 0 or 1 for each class; or
        float32 `[n, ...]`, values, where NaN does not count; or name → such an array.
      num_classes: number of classes, None of values; by name where labels are.
      class_names: one name a class, or empty; by name where labels are.

    Example:
      >>> from jaxkd.data import Dataset
      >>> data = Dataset.from_arrays(
      ...     np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 1], name="own", split="train", num_classes=2)
      >>> isinstance(data, Examples), data.shape, data.read([2, 0], view=0).shape
      (True, (8, 8, 1), (2, 8, 8, 1))
      >>> data.select([1, 2]).labels
      array([1, 1], dtype=int32)
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    labels: Any
    num_classes: Any
    class_names: Any
    # The fields that have one entry for each example.
    _by_example: ClassVar[tuple[str, ...]] = ("ids", "labels")

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Name of the content, the same for all selections of one source."""

    @property
    @abc.abstractmethod
    def shape(self) -> Any:
        """Shape of one example as it is read; of each array where an example is a dictionary."""

    @abc.abstractmethod
    def read(self, ids: npt.ArrayLike, view: npt.ArrayLike) -> Any:
        """Returns the inputs of some examples, a pure function of each one's id and view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view, `[batch]` or one for all.

        Returns:
          An array `[batch, ...]`, or a (nested) dictionary of such arrays.

        Raises:
          KeyError: if an id is not among the examples.
        """

    def example_digests(self, ids: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Returns a digest of what decides the inputs of each of some examples.

        By these a cache accepts a data set that grew, shrank or was put in another order, and
        refuses examples that changed. This default reads view 0 of the examples; what a view does
        to them is compared separately.

        Args:
          ids: example ids `[n]`.

        Returns:
          uint64 `[n]`; the same in every process, on every machine and in every year.

        Raises:
          KeyError: if an id is not among the examples.

        Example:
          >>> from jaxkd.data import Dataset
          >>> before, after = (
          ...     Dataset.from_arrays(rows, name="a", split="train", num_classes=2)
          ...     for rows in ([[1.0], [2.0]], [[1.0], [2.5], [3.0]])
          ... )
          >>> (before.example_digests([0, 1]) == after.example_digests([0, 1])).tolist()
          [True, False]
        """
        wanted = integers(ids, "ids")
        parts = [
            field_digests("jaxkd.Examples", self.read(wanted[start : start + _READ], 0))
            for start in range(0, len(wanted), _READ)
        ]
        return np.concatenate([*parts, np.empty(0, np.uint64)])

    def read_specification(self) -> dict[str, Any] | None:
        """Returns what decides how an example becomes an array, as plain data for a contract.

        None: nothing but the content decides it, whose name is the fingerprint.
        """
        return None

    def contract_fields(self) -> dict[str, Any]:
        """Returns further fields that a cache's contract has of the data set, as plain data."""
        return {}

    def token_mask(self, ids: npt.ArrayLike) -> npt.NDArray[np.bool_] | None:
        """Returns the positions of some examples that hold tokens, bool `[batch, length]`.

        None: the examples are no rows of tokens.

        Args:
          ids: example ids `[batch]`.
        """
        del ids
        return None

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def _ids_are_rows(self) -> bool:
        # Ascending, unique and non-negative: only the last one needs a look.
        return len(self) > 0 and int(self.ids[-1]) == len(self) - 1

    def rows(self, ids: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Finds the rows at which examples are stored.

        Args:
          ids: integers of any shape; ids may repeat.

        Returns:
          Positions into `ids`, `labels` and, of a `Dataset`, `inputs`, in the shape of `ids`.

        Raises:
          KeyError: if an id is not in the dataset.
          TypeError: if ids are not integers.
        """
        wanted = integers(ids, "ids")
        if self._ids_are_rows:
            positions = wanted
            found = (wanted >= 0) & (wanted < len(self))
        elif len(self):
            positions = np.minimum(np.searchsorted(self.ids, wanted), len(self) - 1)
            found = self.ids[positions] == wanted
        else:
            positions, found = wanted, np.zeros(wanted.shape, bool)
        if not found.all():
            missing = wanted[~found]
            kept = f", ids {self.ids[0]} to {self.ids[-1]}" if len(self) else ""
            raise KeyError(
                f"{missing.size} of {wanted.size} ids are not in {self.name} {self.split} "
                f"({len(self)} examples{kept}): {_shorten(missing)}"
            )
        return positions.astype(np.intp, copy=False)

    def select(self, ids: npt.ArrayLike) -> Self:
        """Selects a subset, which keeps the fingerprint of its source.

        Args:
          ids: unique integers `[m]`, in any order.

        Returns:
          A dataset of these examples.

        Raises:
          KeyError: if an id is not in the dataset.
          ValueError: if an id is given twice.

        Example:
          >>> from jaxkd.data import Dataset
          >>> dataset = Dataset.from_arrays(
          ...     [[1.0], [2.0], [3.0]], name="a", split="train", num_classes=2
          ... )
          >>> part = dataset.select([2, 0])
          >>> part.inputs.ravel().tolist(), part.fingerprint == dataset.fingerprint
          ([1.0, 3.0], True)
        """
        positions = np.sort(self.rows(ids), axis=None)
        check_unique(self.ids[positions])
        return self._of_same_source(
            **{
                name: take(getattr(self, name), positions)
                for name in self._by_example
                if getattr(self, name) is not None
            }
        )

    def with_labels(self, ids: npt.ArrayLike) -> Self:
        """Keeps the labels of these examples only; all others become -1, or NaN, unlabeled.

        Args:
          ids: integers `[m]`, such as `split_labels` returns.

        Returns:
          A dataset of the same examples.

        Raises:
          KeyError: if an id is not in the dataset.

        Example:
          >>> from jaxkd.data import Dataset
          >>> dataset = Dataset.from_arrays(
          ...     [[1.0], [2.0], [3.0]], [0, 1, 1], name="a", split="train", num_classes=2
          ... )
          >>> dataset.with_labels([1]).labels.tolist()
          [-1, 1, -1]
        """
        return self._of_same_source(labels=without_labels(self.labels, self.rows(ids)))

    def with_split(self, split: str) -> Self:
        """Returns the same examples under the name of another split.

        Args:
          split: name of the split.

        Returns:
          A dataset of the same examples.
        """
        return self._of_same_source(split=split)

    def _of_same_source(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def check_vocabulary(dataset: Any, **tables: int | None) -> None:
    """Refuses tokens that a network has no embedding for: they would be NaN.

    Args:
      dataset: the examples; nothing is checked where they are not rows of tokens.
      **tables: role of a network → number of its embeddings, None where that is not known.

    Raises:
      ValueError: more tokens in the vocabulary of the data than embeddings; names both.
    """
    vocabulary = getattr(dataset, "vocab_size", None)
    for role, size in tables.items():
        if vocabulary is not None and size is not None and size < vocabulary:
            raise ValueError(
                f"the {role} has embeddings for {size} tokens, the data set {dataset.name} has "
                f"{vocabulary} tokens in its vocabulary: use the tokenizer that the {role} was "
                f"made for, or give it as many embeddings"
            )


def integers(values: npt.ArrayLike, what: str) -> np.ndarray:
    """Returns an array of integers, or raises a TypeError that names what is none."""
    array = np.asarray(values)
    if array.size == 0:  # NumPy makes float64 of an empty list
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        mask = array.dtype == bool and what == "ids"
        hint = " To select by a mask, write dataset.ids[mask]." if mask else ""
        raise TypeError(f"{what} must be integers, got dtype {array.dtype}.{hint}")
    return array


def integer(value: Any, what: str) -> int:
    """Returns one integer, or raises a TypeError that names what is none."""
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be an integer, not {value!r}")
    return int(array)


def check_unique(ids: np.ndarray) -> None:
    """Raises a ValueError if an id is given twice."""
    ordered = np.sort(ids, axis=None)
    refuse(np.append(False, ordered[1:] == ordered[:-1]), "id", ordered, "must be unique")


def refuse(bad: npt.NDArray[np.bool_], what: str, values: np.ndarray, rule: str) -> None:
    """Refuses values if any is bad; the message shows a few of these.

    Args:
      bad: bool, the values that break the rule.
      what: name of a value.
      values: the values.
      rule: the rule, a clause that follows the name.

    Raises:
      ValueError: a bad value.
    """
    if bad.any():
        raise ValueError(
            f"Every {what} {rule}; {bad.sum()} of {bad.size} do not fit: {_shorten(values[bad])}"
        )


def _shorten(values: np.ndarray) -> str:
    shown = ", ".join(str(value) for value in values.ravel()[:_SHOWN])
    return shown + (", …" if values.size > _SHOWN else "")
