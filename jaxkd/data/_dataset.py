"""Arrays in memory, addressed by stable integer example ids."""

import dataclasses
import functools
import hashlib
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_MAX_ID = 2**31 - 1
_SHOWN = 5  # how many offending values an error message lists


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples in memory, each named by a stable integer `example_id`.

    Build one with `Dataset.from_arrays`, which checks and sorts; the rows are kept in ascending
    order of their ids, so the order in which they are handed over changes nothing. The arrays are
    read-only.

    Attributes:
      name: name of the dataset, such as `"fashion_mnist"`.
      version: version of the dataset.
      split: name of the split, such as `"train"`.
      ids: int32 `[n]`, unique, ascending, in `[0, 2**31)`.
      inputs: `[n, ...]` of any dtype; images are uint8 in NHWC order.
      labels: int32 `[n]` in `[-1, num_classes)`; -1 means unlabelled.
      num_classes: number of classes.
      class_names: one name a class, or empty.

    Example:
      >>> import numpy as np
      >>> images = np.zeros((3, 8, 8, 1), np.uint8)
      >>> dataset = Dataset.from_arrays(
      ...     images, [1, 0, 1], ids=[30, 10, 20], name="shapes", split="train", num_classes=2
      ... )
      >>> dataset
      Dataset('shapes' 1, split 'train': 3 examples uint8[8, 8, 1], 3 labelled, 2 classes)
      >>> dataset.ids.tolist(), dataset.labels.tolist()
      ([10, 20, 30], [0, 1, 1])
      >>> dataset.rows([30, 10])
      array([2, 0])
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    inputs: np.ndarray
    labels: npt.NDArray[np.int32]
    num_classes: int
    class_names: tuple[str, ...] = ()
    # Not an argument, so that dataclasses.replace(selection, inputs=...) does not inherit it.
    _source_fingerprint: str | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        if (
            not len(self.ids) == len(self.inputs) == len(self.labels)
            or self.ids.dtype != np.int32
            or self.labels.dtype != np.int32
            or np.any(self.ids[1:] <= self.ids[:-1])
            or np.any(self.ids[:1] < 0)
        ):
            raise ValueError(
                "The arrays of a Dataset must be of one length, with int32 ids in ascending order "
                "and int32 labels: build it with Dataset.from_arrays, which sorts and checks them."
            )
        # A view is marked, not the array itself, which stays as writeable for its owner as it was.
        for field in ("ids", "inputs", "labels"):
            view = getattr(self, field).view()
            view.flags.writeable = False
            object.__setattr__(self, field, view)

    @classmethod
    def from_arrays(
        cls,
        inputs: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        *,
        name: str,
        version: str = "1",
        split: str,
        num_classes: int,
        ids: npt.ArrayLike | None = None,
        class_names: tuple[str, ...] = (),
    ) -> Self:
        """Check arrays and sort them by id into a dataset.

        Args:
          inputs: `[n, ...]`, any dtype but object. Inputs already in the order of their ids are not
            copied: do not write to them afterwards.
          labels: integers `[n]` in `[-1, num_classes)`, where -1 means unlabelled. None: all
            unlabelled.
          name: name of the dataset.
          version: version of the dataset.
          split: name of the split.
          num_classes: number of classes, at least 1.
          ids: unique integers `[n]` in `[0, 2**31)`. None: `0..n-1`, in the order of `inputs`.
          class_names: one name a class, or empty.

        Returns:
          The dataset, in ascending order of ids.

        Raises:
          TypeError: if ids or labels are not integers, or inputs are Python objects.
          ValueError: if lengths differ, an id is negative, too large or given twice, or a label is
            out of range.
        """
        inputs = np.asarray(inputs)
        if inputs.dtype.hasobject:
            raise TypeError(
                f"inputs must be an array of numbers, got dtype {inputs.dtype} (ragged rows?)."
            )
        if inputs.ndim < 1:
            raise ValueError("inputs must have a leading axis of examples, got a scalar.")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        if class_names and len(class_names) != num_classes:
            raise ValueError(f"Got {len(class_names)} class_names for {num_classes} classes.")
        n = len(inputs)
        ids = np.arange(n) if ids is None else _integers(ids, "ids")
        labels = np.full(n, -1) if labels is None else _integers(labels, "labels")
        for what, values in (("ids", ids), ("labels", labels)):
            if values.shape != (n,):
                raise ValueError(
                    f"{what} must have shape ({n},), as there are {n} inputs, got {values.shape}."
                )

        _refuse((ids < 0) | (ids > _MAX_ID), "id", ids, f"must be in [0, {_MAX_ID}]")
        bad = (labels < -1) | (labels >= num_classes)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{bad.sum()} of {n} labels are out of range: label {labels[row]} of example id "
                f"{ids[row]}; labels must be in [0, {num_classes}), or -1 for unlabelled."
            )
        if np.any(ids[1:] <= ids[:-1]):
            order = np.argsort(ids, kind="stable")
            inputs, ids, labels = inputs[order], ids[order], labels[order]
        _refuse(np.append(False, ids[1:] == ids[:-1]), "id", ids, "must be unique")
        return cls(
            name=name,
            version=version,
            split=split,
            ids=ids.astype(np.int32),
            inputs=inputs,
            labels=labels.astype(np.int32),
            num_classes=num_classes,
            class_names=tuple(class_names),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r} {self.version}, split {self.split!r}: {len(self)} examples "
            f"{self.inputs.dtype}{list(self.inputs.shape[1:])}, "
            f"{np.count_nonzero(self.labels >= 0)} labelled, {self.num_classes} classes)"
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Name of the content, `"sha256:<64 hex digits>"`: ids and inputs (dtype, shape, bytes).

        Labels, names and the order of the rows leave it as it is: a teacher's answer depends on
        none of them. A subset has the fingerprint of the dataset it was selected from, because a
        cached answer belongs to an example id of that source.
        """
        if self._source_fingerprint is not None:
            return self._source_fingerprint
        # Bytes are hashed as little-endian, so that every machine finds the same name.
        digest = hashlib.sha256(
            f"jaxkd.Dataset 1 {self.inputs.dtype.name} {self.inputs.shape}".encode()
        )
        for array in (self.ids, self.inputs):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
        return f"sha256:{digest.hexdigest()}"

    @functools.cached_property
    def _ids_are_rows(self) -> bool:
        # Ascending, unique and non-negative: only the last one needs a look.
        return len(self) > 0 and int(self.ids[-1]) == len(self) - 1

    def rows(self, ids: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Find the rows at which examples are kept.

        Args:
          ids: integers of any shape; ids may repeat.

        Returns:
          Positions into `ids`, `inputs` and `labels`, in the shape of `ids`.

        Raises:
          KeyError: if an id is not in the dataset.
          TypeError: if ids are not integers.
        """
        wanted = _integers(ids, "ids")
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
        """Take a subset, which keeps the fingerprint of its source.

        Args:
          ids: unique integers `[m]`, in any order.

        Returns:
          A dataset of these examples.

        Raises:
          KeyError: if an id is not in the dataset.
          ValueError: if an id is given twice.

        Example:
          >>> dataset = Dataset.from_arrays(
          ...     [[1.0], [2.0], [3.0]], name="a", split="train", num_classes=2
          ... )
          >>> part = dataset.select([2, 0])
          >>> part.inputs.ravel().tolist(), part.fingerprint == dataset.fingerprint
          ([1.0, 3.0], True)
        """
        positions = np.sort(self.rows(ids), axis=None)
        _refuse(
            np.append(False, positions[1:] == positions[:-1]),
            "id",
            self.ids[positions],
            "must be unique",
        )
        return self._of_same_source(
            ids=self.ids[positions],
            inputs=self.inputs[positions],
            labels=self.labels[positions],
        )

    def with_labels(self, ids: npt.ArrayLike) -> Self:
        """Keep the labels of these examples alone; all others become -1, unlabelled.

        Args:
          ids: integers `[m]`, such as `split_labels` returns.

        Returns:
          A dataset of the same examples.

        Raises:
          KeyError: if an id is not in the dataset.

        Example:
          >>> dataset = Dataset.from_arrays(
          ...     [[1.0], [2.0], [3.0]], [0, 1, 1], name="a", split="train", num_classes=2
          ... )
          >>> dataset.with_labels([1]).labels.tolist()
          [-1, 1, -1]
        """
        positions = self.rows(ids)
        labels = np.full(len(self), -1, np.int32)
        labels[positions] = self.labels[positions]
        return self._of_same_source(labels=labels)

    def with_split(self, split: str) -> Self:
        """The same examples under another split's name.

        Args:
          split: the name.

        Returns:
          A dataset of the same examples.
        """
        return self._of_same_source(split=split)

    def _of_same_source(self, **changes: Any) -> Self:
        part = dataclasses.replace(self, **changes)
        object.__setattr__(part, "_source_fingerprint", self.fingerprint)
        return part


def split_labels(dataset: Dataset, per_class: int, seed: int) -> npt.NDArray[np.int32]:
    """Pick the same number of labelled examples from every class, at random.

    The choice depends on the dataset, `per_class` and `seed` alone. A larger `per_class` adds to
    the choice of a smaller one: a curve over the number of labels adds labels and never swaps any.

    Args:
      dataset: the dataset to pick from.
      per_class: how many examples of each class, at least 1.
      seed: non-negative integer.

    Returns:
      int32 ids `[num_classes * per_class]`, ascending.

    Raises:
      ValueError: if a class has fewer labelled examples.

    Example:
      >>> dataset = Dataset.from_arrays(
      ...     [[0.0]] * 6, [0, 1, 0, 1, 0, 1], name="a", split="train", num_classes=2
      ... )
      >>> ids = split_labels(dataset, per_class=2, seed=0)
      >>> sorted(dataset.labels[dataset.rows(ids)].tolist())
      [0, 0, 1, 1]
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}.")
    # NumPy promises the raw stream of a bit generator for good, not what its samplers make of it.
    keys = np.random.PCG64(seed).random_raw(len(dataset))
    chosen = []
    for label in range(dataset.num_classes):
        rows = np.flatnonzero(dataset.labels == label)
        if len(rows) < per_class:
            raise ValueError(
                f"Class {label} of {dataset.name} {dataset.split} has {len(rows)} labelled "
                f"examples, fewer than per_class={per_class}."
            )
        chosen.append(rows[np.argsort(keys[rows], kind="stable")[:per_class]])
    return dataset.ids[np.sort(np.concatenate(chosen))]


def _integers(values: npt.ArrayLike, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0:  # NumPy makes float64 of an empty list
        return array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{what} must be integers, got dtype {array.dtype}.")
    return array


def _refuse(bad: npt.NDArray[np.bool_], what: str, values: np.ndarray, rule: str) -> None:
    if bad.any():
        raise ValueError(
            f"Every {what} {rule}; {bad.sum()} of {bad.size} do not fit: {_shorten(values[bad])}"
        )


def _shorten(values: np.ndarray) -> str:
    shown = ", ".join(str(value) for value in values.ravel()[:_SHOWN])
    return shown + (", …" if values.size > _SHOWN else "")
