"""Arrays in memory, addressed by stable integer example ids."""

import dataclasses
import functools
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data._digests import dtype_name, hash_arrays, row_digests
from jaxkd.data._examples import Examples, check_fields, integer, refuse


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
      inputs: `[n, ...]` of any dtype; images are uint8 in NHWC order.
      labels: int32 `[n]` in `[-1, num_classes)`; -1 means unlabeled.
      num_classes: number of classes.
      class_names: one name a class, or empty.

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
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    inputs: np.ndarray
    labels: npt.NDArray[np.int32]
    num_classes: int
    class_names: tuple[str, ...] = ()
    _by_example: ClassVar[tuple[str, ...]] = ("ids", "inputs", "labels")
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
                "and int32 labels: build it with Dataset.from_arrays, which sorts and checks them"
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
        """Checks arrays and sorts them by id into a dataset.

        Args:
          inputs: `[n, ...]`, any dtype but object. Inputs already in the order of their ids are not
            copied: do not write to them afterwards.
          labels: integers `[n]` in `[-1, num_classes)`, where -1 means unlabeled. None: all
            unlabeled.
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
                f"inputs must be an array of numbers, got dtype {inputs.dtype} (ragged rows?)"
            )
        if inputs.ndim < 1:
            raise ValueError("inputs must have a leading axis of examples, got a scalar")
        # Files of other machines, such as IDX, hold numbers in an order of bytes that JAX refuses.
        inputs = inputs.astype(inputs.dtype.newbyteorder("="), copy=False)
        ids, labels = check_fields(len(inputs), ids, labels, num_classes, class_names)
        if np.any(ids[1:] <= ids[:-1]):
            order = np.argsort(ids, kind="stable")
            inputs, ids, labels = inputs[order], ids[order], labels[order]
        refuse(np.append(False, ids[1:] == ids[:-1]), "id", ids, "must be unique")
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

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r} {self.version}, split {self.split!r}: {len(self)} examples "
            f"{self.inputs.dtype}{list(self.inputs.shape[1:])}, "
            f"{np.count_nonzero(self.labels >= 0)} labeled, {self.num_classes} classes)"
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
        header = f"jaxkd.Dataset 1 {dtype_name(self.inputs.dtype)} {self.inputs.shape}"
        return hash_arrays(header, self.ids, self.inputs)

    def example_digests(self, ids: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Returns a digest of each of some rows: its dtype, shape and bytes.

        Args:
          ids: example ids `[n]`.

        Returns:
          uint64 `[n]`.

        Raises:
          KeyError: if an id is not in the dataset.
        """
        rows = self.rows(ids)
        everything = len(rows) == len(self) and bool((rows == np.arange(len(self))).all())
        return row_digests("jaxkd.Dataset 1", self.inputs if everything else self.inputs[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, such as `(32, 32, 3)`."""
        return self.inputs.shape[1:]

    def read(self, ids: npt.ArrayLike, view: npt.ArrayLike = 0) -> np.ndarray:
        """Returns the inputs of some examples, the same in every view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: makes no difference to arrays that are in memory.

        Returns:
          A copy `[batch, ...]`.

        Raises:
          KeyError: if an id is not in the dataset.
        """
        del view
        return self.inputs[self.rows(ids)]

    def _of_same_source(self, **changes: Any) -> Self:
        part = dataclasses.replace(self, **changes)
        object.__setattr__(part, "_source_fingerprint", self.fingerprint)
        return part


def split_labels(dataset: Examples, per_class: int, seed: int) -> npt.NDArray[np.int32]:
    """Picks the same number of labeled examples from every class, at random.

    The choice depends on the dataset, `per_class` and `seed` alone. A larger `per_class` adds to
    the choice of a smaller one: a curve over the number of labels adds labels and never swaps any.

    Args:
      dataset: the dataset to pick from.
      per_class: number of examples of each class, at least 1.
      seed: seed of the choice, not negative.

    Returns:
      int32 ids `[num_classes * per_class]`, ascending.

    Raises:
      ValueError: if a class has fewer labeled examples, or the labels are tokens.

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
    if dataset.labels.ndim != 1:
        raise ValueError(f"{dataset.name} has a label for each token, and no classes to pick from")
    # NumPy guarantees the raw stream of a bit generator, not the results of its samplers.
    keys = np.random.PCG64(seed).random_raw(len(dataset))
    chosen = []
    for label in range(dataset.num_classes):
        rows = np.flatnonzero(dataset.labels == label)
        if len(rows) < per_class:
            raise ValueError(
                f"Class {label} of {dataset.name} {dataset.split} has {len(rows)} labeled "
                f"examples, fewer than per_class={per_class}"
            )
        chosen.append(rows[np.argsort(keys[rows], kind="stable")[:per_class]])
    return dataset.ids[np.sort(np.concatenate(chosen))]
