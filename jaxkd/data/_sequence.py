"""Any sequence of examples as a data set: of PyTorch, of Hugging Face, or of one's own."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from jaxkd.data._by_content import ByContent
from jaxkd.data._examples import integers, refuse
from jaxkd.data._fields import by_name, describe_arrays, field_digests, map_arrays, take
from jaxkd.data._labels import check_fields, classes_of, describe_labels
from jaxkd.data._path_ids import checked_ids

_READ = 256  # examples that are read at once to be hashed


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SequenceExamples(ByContent):
    """Examples that are read from a sequence, one item each; see `from_sequence`.

    Attributes:
      name: name of the data set.
      version: its version.
      split: name of the split.
      ids: int32 `[n]`, unique, ascending.
      positions: int `[n]`, where each example is in `sequence`.
      labels: as of a `Dataset`.
      num_classes: as of a `Dataset`.
      sequence: items by position; pickled for workers.
      inputs: makes an array of an item, or a dictionary of arrays. None: see `from_sequence`.
      kind: an example, an array of length 0 or a dictionary of such, for its shape and dtype.
      digest: fingerprint of the content; None: computed from the content when it is asked for.
      class_names: as of a `Dataset`.
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    positions: npt.NDArray[np.integer]
    labels: Any
    num_classes: Any
    sequence: Any
    inputs: Callable[[Any], Any] | None
    kind: Any
    digest: str | None = None
    class_names: Any = ()
    _by_example: ClassVar[tuple[str, ...]] = ("ids", "positions", "labels")

    def __repr__(self) -> str:
        return (
            f"SequenceExamples({self.name!r} {self.version}, split {self.split!r}: {len(self)} "
            f"examples {describe_arrays(self.kind)}, "
            f"{describe_labels(self.labels, self.num_classes)})"
        )

    @property
    def shape(self) -> Any:
        """Shape of one example as it is read."""
        return map_arrays(lambda array: array.shape[1:], self.kind)

    def read(self, ids: npt.ArrayLike, view: npt.ArrayLike = 0) -> Any:
        """Reads some examples, one after the other.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: makes no difference.

        Returns:
          An array `[batch, ...]`, or a dictionary of such arrays.

        Raises:
          KeyError: if an id is not among the examples.
          ValueError: if an item cannot be read, or is of another shape or dtype; names its id.
        """
        del view
        rows = self.rows(ids)
        batch = map_arrays(
            lambda array: np.empty((len(rows), *array.shape[1:]), array.dtype), self.kind
        )
        for place, row in enumerate(rows.tolist()):
            for name, array in by_name(self._item(row)).items():
                by_name(batch)[name][place] = array
        return batch

    def _item(self, row: int) -> Any:
        position = int(self.positions[row])
        try:
            found = _as_arrays(_inputs_of(self.sequence[position], self.inputs))
        except Exception as error:
            raise ValueError(
                f"example id {self.ids[row]} of {self.name} {self.split} (position {position}) "
                f"cannot be read: {error}"
            ) from error
        one, wanted = (describe_arrays(map_arrays(_a_row, found)), describe_arrays(self.kind))
        if one != wanted:
            raise ValueError(
                f"example id {self.ids[row]} of {self.name} {self.split} (position {position}) is "
                f"{one}, the first one is {wanted}: all must have one shape, so resize or pad them "
                "in inputs=…"
            )
        return found

    def _read_digests(self, ids: np.ndarray) -> npt.NDArray[np.uint64]:
        parts = [
            field_digests("jaxkd.SequenceExamples", self.read(some))
            for some in np.split(ids, range(_READ, len(ids), _READ))
        ]
        return np.concatenate(parts)


def from_sequence(
    sequence: Any,
    labels: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
    *,
    inputs: Callable[[Any], Any] | None = None,
    ids: Sequence[int | str] | npt.ArrayLike | None = None,
    name: str,
    version: str = "1",
    split: str,
    num_classes: int | Mapping[str, int | None] | None = None,
    class_names: Any = (),
    ignore_label: int | None = None,
    fingerprint: str | None = None,
) -> SequenceExamples:
    """Makes a data set of anything with `__len__` and `__getitem__`, read when a batch has it.

    Args:
      sequence: the items, such as a PyTorch `Dataset`. An item must be the same whenever it is
        read: random transforms belong into `Views`. Pickled for workers.
      labels: labels by position, as of `Dataset.from_arrays`, such as `dataset.targets`. None:
        where items are tuples of two their second parts, for which all are read once; else none.
      inputs: makes the inputs of an item: an array or a dictionary of arrays; images as uint8
        `[height, width, channels]`. A function of a module, where workers are used. None: the first
        part of a pair, or the item.
      ids: example ids by position, integers or texts that stay, such as names of files. None:
        positions, which is right for a sequence that only grows at its end.
      name: name of the data set.
      version: version of the data set.
      split: name of the split.
      num_classes: as of `Dataset.from_arrays`.
      class_names: as of `Dataset.from_arrays`.
      ignore_label: as of `Dataset.from_arrays`.
      fingerprint: name of the content; None: all of it is read and hashed when it is asked for, as
        by a cache.

    Returns:
      The data set.

    Raises:
      TypeError: no sequence, or an item that is no array.
      ValueError: an empty sequence, an item that is another one when it is read again, or as
        of `Dataset.from_arrays`.

    Example:
      >>> pairs = [(np.full((4, 4, 3), number, np.uint8), number % 2) for number in range(5)]
      >>> data = from_sequence(pairs, name="pairs", split="train", num_classes=2)
      >>> data
      SequenceExamples('pairs' 1, split 'train': 5 examples uint8[4, 4, 3], 5 labeled, 2 classes)
      >>> data.read([3, 1])[:, 0, 0, 0].tolist()
      [3, 1]
    """
    if not hasattr(sequence, "__len__") or not hasattr(sequence, "__getitem__"):
        raise TypeError(
            f"a sequence has a length and items by position, {type(sequence).__name__} has not: "
            "list(…) makes one, and fit takes an iterator of batches as it is"
        )
    n = len(sequence)
    if not n:
        raise ValueError(f"the sequence of {name} {split} is empty")
    kind = _kind(sequence, inputs)
    if labels is None and _is_pair(sequence[0]):
        labels = np.stack([np.asarray(sequence[place][1]) for place in range(n)])
    own = None if ids is None else checked_ids(np.asarray(ids).tolist())
    own, labels = check_fields(n, own, labels, num_classes, class_names, ignore_label)
    positions = np.argsort(own, kind="stable")
    own = own[positions]
    refuse(np.append(False, own[1:] == own[:-1]), "id", own, "must be unique")
    labels = take(labels, positions)
    if fingerprint == "":
        raise ValueError("fingerprint is empty: name the content, or leave it out")
    return SequenceExamples(
        name=name,
        version=version,
        split=split,
        ids=integers(own, "ids").astype(np.int32),
        positions=positions,
        labels=labels,
        sequence=sequence,
        inputs=inputs,
        kind=kind,
        digest=fingerprint,
        **classes_of(labels, num_classes, class_names),
    )


def _kind(sequence: Any, inputs: Callable[[Any], Any] | None) -> Any:
    """The first item as an array of length 0, or a dictionary of such."""
    first, again = (_as_arrays(_inputs_of(sequence[0], inputs)) for _ in range(2))
    pairs = zip(by_name(first).values(), by_name(again).values(), strict=True)
    if not all(one.tobytes() == other.tobytes() for one, other in pairs):
        raise ValueError(
            "the first item is another one when it is read again: leave random transforms out of "
            "the sequence and write them as views, Views((RandomFlip(), …)), which are replayed "
            "for teacher and student"
        )
    return map_arrays(lambda array: _a_row(array)[:0], first)


def _inputs_of(item: Any, inputs: Callable[[Any], Any] | None) -> Any:
    if inputs is not None:
        return inputs(item)
    if isinstance(item, Mapping):
        raise TypeError(
            f"an item is a dictionary of {', '.join(map(str, item))}: say which of these are "
            f"inputs, inputs=operator.itemgetter({next(iter(item))!r})"
        )
    return item[0] if _is_pair(item) else item


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2


def _as_arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_arrays(inner) for name, inner in value.items()}
    array = np.asarray(value)  # of PyTorch's tensors and Pillow's images as well
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"the inputs of an item are {type(value).__name__} and no array of numbers: say how "
            "one is made of them, inputs=…"
        )
    return array


def _a_row(array: np.ndarray) -> np.ndarray:
    return array[None]
