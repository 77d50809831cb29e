"""Arrays in memory, addressed by stable integer example ids."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data._examples import Examples, integer, refuse
from jaxkd.data._fields import (
    by_name,
    describe_arrays,
    field_digests,
    field_hash,
    map_arrays,
    read_only,
    take,
)
from jaxkd.data._labels import check_fields, class_ids, classes_of, describe_labels

_LARGEST = float(np.finfo(np.float32).max)
_NOT_NUMBERS = "texts are tokenized first; images in files are read by data.folder"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset(Examples):
    """Examples in memory, each named by a stable integer `example_id`.

    Build one with `Dataset.from_arrays`, which checks and sorts; the rows are kept in ascending
    order of their ids, so the order in which they are handed over changes nothing. The arrays are
    read-only.

    Attributes:
      name: name of the dataset, such as `"fashion_mnist"`.
      version: version of the dataset.
      split: name of the split, such as `"train"`.
      ids: int32 `[n]`, unique, ascending, in `[0, 2**31)`.
      inputs: `[n, ...]` of any dtype, or a (nested) dictionary of such arrays; images are uint8 in
        NHWC order.
      labels: int32 or float32 `[n, ...]`, or name → such an array; see `from_arrays`.
      num_classes: number of classes, None of values; by name where labels are.
      class_names: one name a class, or empty; by name where labels are.

    Example:
      >>> import numpy as np
      >>> images = np.zeros((3, 8, 8, 1), np.uint8)
      >>> dataset = Dataset.from_arrays(
      ...     images, [1, 0, 1], ids=[30, 10, 20], name="shapes", split="train", num_classes=2
      ... )
      >>> dataset
      Dataset('shapes' 1, split 'train': 3 examples uint8[8, 8, 1], 3 labeled, 2 classes)
      >>> dataset.ids.tolist(), dataset.labels.tolist()
      ([10, 20, 30], [0, 1, 1])
      >>> dataset.rows([30, 10])
      array([2, 0])
      >>> Dataset.from_arrays(
      ...     {"image": images, "age": np.ones(3, np.float32)},
      ...     {"color": [1, 0, -1], "box": np.zeros((3, 4))},
      ...     name="shapes", split="train", num_classes={"color": 2})
      Dataset('shapes' 1, split 'train': 3 examples {age float32[], image uint8[8, 8, 1]}, 3 labeled
      by box float32[4], color 2 classes)
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    inputs: Any
    labels: Any
    num_classes: Any
    class_names: Any = ()
    _by_example: ClassVar[tuple[str, ...]] = ("ids", "inputs", "labels")
    # Not an argument, so that dataclasses.replace(selection, inputs=...) does not inherit it.
    _source_fingerprint: str | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        labels = by_name(self.labels).values()
        lengths = {len(array) for array in (*by_name(self.inputs).values(), *labels)}
        if (
            lengths != {len(self.ids)}
            or self.ids.dtype != np.int32
            or any(array.dtype not in (np.int32, np.float32) for array in labels)
            or np.any(self.ids[1:] <= self.ids[:-1])
            or np.any(self.ids[:1] < 0)
        ):
            raise ValueError(
                "The arrays of a Dataset must be of one length, with int32 ids in ascending order "
                "and labels of int32 or float32: build it with Dataset.from_arrays, which sorts "
                "and checks them"
            )
        # A view is marked, not the array itself, which stays as writeable for its owner as it was.
        for field in ("ids", "inputs", "labels"):
            object.__setattr__(self, field, map_arrays(read_only, getattr(self, field)))

    @classmethod
    def from_arrays(
        cls,
        inputs: npt.ArrayLike | Mapping[str, Any],
        labels: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
        *,
        name: str,
        version: str = "1",
        split: str,
        num_classes: int | Mapping[str, int | None] | None = None,
        ids: npt.ArrayLike | None = None,
        class_names: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
        ignore_label: int | None = None,
    ) -> Self:
        """Checks arrays and sorts them by id into a dataset.

        The kind of a label is its dtype and shape. Integers are classes: one an example, `[n]`, one
        a token or pixel, `[n, ...]`, or one 0 or 1 for each class, `[n, ..., num_classes]`; -1 does
        not count. Floats are values, `[n, ...]`, or distributions, `[n, ..., num_classes]`; an
        example whose label is NaN is unlabeled.

        Args:
          inputs: `[n, ...]`, any dtype but object, or a (nested) dictionary of such arrays. Inputs
            already in the order of their ids are not copied: do not write to them afterwards.
          labels: integers in `[-1, num_classes)` or floats, `[n, ...]`, or several label sets by
            name. None: all unlabeled.
          name: name of the dataset.
          version: version of the dataset.
          split: name of the split.
          num_classes: number of classes, at least 1; by name where labels are. None where labels
            are values, or where there are none.
          ids: unique integers `[n]` in `[0, 2**31)`. None: `0..n-1`, in the order of `inputs`.
          class_names: one name a class, or empty; by name where labels are.
          ignore_label: an integer label that does not count, as 255 or -100; it becomes -1.

        Returns:
          The dataset, in ascending order of ids.

        Raises:
          TypeError: if ids are not integers, inputs are Python objects, or labels are of another
            kind than `num_classes` says.
          ValueError: if lengths differ, an id is negative, too large or given twice, or a label is
            out of range; names it with its id and place.
        """
        inputs = _checked_inputs("inputs", inputs)
        n = _common_length(inputs)
        ids, labels = check_fields(n, ids, labels, num_classes, class_names, ignore_label)
        if np.any(ids[1:] <= ids[:-1]):
            order = np.argsort(ids, kind="stable")
            inputs, ids, labels = take(inputs, order), ids[order], take(labels, order)
        refuse(np.append(False, ids[1:] == ids[:-1]), "id", ids, "must be unique")
        return cls(
            name=name,
            version=version,
            split=split,
            ids=ids.astype(np.int32),
            inputs=inputs,
            labels=labels,
            **classes_of(labels, num_classes, class_names),
        )

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r} {self.version}, split {self.split!r}: {len(self)} examples "
            f"{describe_arrays(self.inputs)}, {describe_labels(self.labels, self.num_classes)})"
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Name of the content, `"sha256:<64 hex digits>"`: ids and inputs (dtype, shape, bytes).

        Labels, names and the order of the rows leave it as it is: a teacher's output depends on
        none of them. A subset has the fingerprint of the dataset it was selected from, because a
        cached record belongs to an example id of that source.
        """
        if self._source_fingerprint is not None:
            return self._source_fingerprint
        return field_hash("jaxkd.Dataset", self.ids, self.inputs)

    def example_digests(self, ids: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Returns a digest of each of some rows: its dtype, shape and bytes, and names of arrays.

        Args:
          ids: example ids `[n]`.

        Returns:
          uint64 `[n]`.

        Raises:
          KeyError: if an id is not in the dataset.
        """
        rows = self.rows(ids)
        everything = len(rows) == len(self) and bool((rows == np.arange(len(self))).all())
        return field_digests(
            "jaxkd.Dataset", self.inputs if everything else take(self.inputs, rows)
        )

    @property
    def shape(self) -> Any:
        """Shape of one example, such as `(32, 32, 3)`; of each array where inputs are by name."""
        return map_arrays(lambda array: array.shape[1:], self.inputs)

    def read(self, ids: npt.ArrayLike, view: npt.ArrayLike = 0) -> Any:
        """Returns the inputs of some examples, the same in every view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: makes no difference to arrays that are in memory.

        Returns:
          A copy `[batch, ...]`, or a dictionary of copies.

        Raises:
          KeyError: if an id is not in the dataset.
        """
        del view
        return take(self.inputs, self.rows(ids))

    def _of_same_source(self, **changes: Any) -> Self:
        part = dataclasses.replace(self, **changes)
        object.__setattr__(part, "_source_fingerprint", self.fingerprint)
        return part


def _checked_inputs(what: str, inputs: Any) -> Any:
    """Arrays in the order of bytes of this machine, in dictionaries as they were given."""
    if isinstance(inputs, Mapping):
        if not inputs or not all(isinstance(n, str) and n and "." not in n for n in inputs):
            raise ValueError(
                f"{what} must be arrays by names without dots, {{'image': …}}, got the names "
                f"{list(inputs)}"
            )
        return {name: _checked_inputs(f"{what}.{name}", value) for name, value in inputs.items()}
    array = np.asarray(inputs)
    if array.dtype.hasobject or array.dtype.kind in "USMm":
        why = "ragged rows?" if array.dtype.hasobject else _NOT_NUMBERS
        raise TypeError(f"{what} must be an array of numbers, got dtype {array.dtype} ({why})")
    if array.dtype == np.float64 and (np.isfinite(array) & (np.abs(array) > _LARGEST)).any():
        raise ValueError(
            f"{what} has numbers such as {array[np.abs(array) > _LARGEST][0]:.3g}, which overflow "
            "as float32, what JAX computes in: scale or clip them first"
        )
    if array.ndim < 1:
        raise ValueError(f"{what} must have a leading axis of examples, got a scalar")
    # Files of other machines, such as IDX, hold numbers in an order of bytes that JAX refuses.
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _common_length(inputs: Any) -> int:
    lengths = {name: len(array) for name, array in by_name(inputs).items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"every array of inputs has a leading axis of the same examples, got lengths {lengths}"
        )
    return next(iter(lengths.values()))


def split_labels(
    dataset: Examples, per_class: int, seed: int, *, labels: str | None = None
) -> npt.NDArray[np.int32]:
    """Picks the same number of labeled examples from every class, at random.

    The choice depends on the dataset, `per_class` and `seed` alone. A larger `per_class` adds to
    the choice of a smaller one: a curve over the number of labels adds labels and never swaps any.

    Args:
      dataset: the dataset to pick from.
      per_class: number of examples of each class, at least 1.
      seed: seed of the choice, not negative.
      labels: name of the label set whose classes are meant, where there are several.

    Returns:
      int32 ids `[num_classes * per_class]`, ascending.

    Raises:
      ValueError: if a class has fewer labeled examples, or labels are not one class an example, or
        of several sets and none is named.

    Example:
      >>> dataset = Dataset.from_arrays(
      ...     [[0.0]] * 6, [0, 1, 0, 1, 0, 1], name="a", split="train", num_classes=2
      ... )
      >>> ids = split_labels(dataset, per_class=2, seed=0)
      >>> sorted(dataset.labels[dataset.rows(ids)].tolist())
      [0, 0, 1, 1]
    """
    if integer(per_class, "per_class") < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    choose = "split_labels(…, labels={name!r})"
    classes = class_ids(dataset, "split_labels", labels, choose=choose)
    num_classes = dataset.num_classes if labels is None else dataset.num_classes[labels]
    if num_classes is None:
        raise ValueError(
            f"split_labels needs one class for each example: {dataset.name} has no classes"
        )
    # NumPy guarantees the raw stream of a bit generator, not the results of its samplers.
    keys = np.random.PCG64(seed).random_raw(len(dataset))
    chosen = []
    for label in range(num_classes):
        rows = np.flatnonzero(classes == label)
        if len(rows) < per_class:
            raise ValueError(
                f"Class {label} of {dataset.name} {dataset.split} has {len(rows)} labeled "
                f"examples, fewer than per_class={per_class}"
            )
        chosen.append(rows[np.argsort(keys[rows], kind="stable")[:per_class]])
    return dataset.ids[np.sort(np.concatenate(chosen))]
