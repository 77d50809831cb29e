"""Data sets of the library `datasets` of Hugging Face, in Arrow files."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from jaxkd.data._crops import Crop
from jaxkd.data._encoded_images import EncodedImages
from jaxkd.data._files import checked_crop
from jaxkd.data._label_values import encode_labels
from jaxkd.data._path_ids import checked_ids
from jaxkd.data._sequence import SequenceExamples, from_sequence


def from_huggingface(
    dataset: Any,
    *,
    image: str | None = None,
    inputs: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002 - as the batch calls it
    size: int | None = None,
    crop: Crop | None = None,
    class_names: Any = (),
    num_classes: Any = None,
    name: str | None = None,
    version: str | None = None,
    split: str | None = None,
) -> EncodedImages | SequenceExamples:
    """Opens a data set of Hugging Face's `datasets`; rows are read when a batch has them.

    Args:
      dataset: a `datasets.Dataset`, or a name for `datasets.load_dataset`, with `split`. For one
        that is streamed, `stream_huggingface`.
      image: column of the images, decoded as those of `folder` are. None: the only one, unless
        `inputs` is given.
      inputs: column of numbers, or several of them for a dictionary of inputs, instead of images.
      label: column of the labels, or several for as many label sets: classes with names, texts,
        numbers or values. None: the only column of classes with names, if there is one.
      id: column of the example ids, integers or texts that stay. None: positions of the rows, which
        is right for a data set that only grows at its end.
      size: height and width of the images, by default 224.
      crop: what is done to an image. None: `CenterCrop(size)`.
      class_names: as of `from_table`; by default those of the column.
      num_classes: as of `from_table`.
      name: name of the data set, by default its own.
      version: version of the data set, by default its own.
      split: name of the split, by default its own.

    Returns:
      The data set.

    Raises:
      ImportError: a name without the library.
      TypeError: several splits, a stream, or no data set.
      ValueError: no such column, or several that it might be.

    Example:
      >>> from_huggingface("beans", split="train", size=224)  # doctest: +SKIP
      EncodedImages('beans' 0.0.0, split 'train': 1034 images read as uint8[224, 224, 3],
      1034 labeled, 3 classes)
    """
    rows = load_rows(dataset, split)
    sets = label_columns(rows, label)
    wanted = [*sets, *([] if id is None else [id])]
    columns = read_columns(rows, wanted)
    ids = None if id is None else checked_ids(columns.pop(id))
    one_set = label is None or isinstance(label, str)
    values: Any = columns if sets else [None] * len(rows)
    names: Any = {one: names_of(rows, one) for one in sets} | dict(class_names or {})
    if one_set and sets:
        values, names = columns[sets[0]], tuple(class_names) or names_of(rows, sets[0])
    elif not sets:
        names = tuple(class_names)
    labels, classes = encode_labels(values, names, num_classes, lambda row: f"row {row}")
    options: dict[str, Any] = {
        "ids": ids,
        "name": name or rows.info.dataset_name or "huggingface",
        "version": version or str(rows.info.version or 1),
        "split": split or str(rows.split or "all"),
        **classes,
    }
    if inputs is None:
        column = image_column(rows, image)
        source = _Images(encoded_images(rows, column), column)
        return EncodedImages.from_source(source, labels, crop=checked_crop(size, crop), **options)
    of_row = functools.partial(_fields, columns=inputs)
    return from_sequence(rows.with_format("numpy"), labels, inputs=of_row, **options)


def load_rows(dataset: Any, split: str | None) -> Any:
    """Returns a data set of rows by position.

    Args:
      dataset: as of `from_huggingface`.
      split: name of the split, where a name is given.

    Raises:
      ImportError: a name without the library.
      TypeError: several splits, a stream, or no data set.
    """
    if isinstance(dataset, str | os.PathLike):
        datasets = import_datasets()
        dataset = datasets.load_dataset(os.fspath(dataset), split=split)
    if isinstance(dataset, Mapping):
        raise TypeError(
            f"there are several splits, {', '.join(map(str, dataset))}: choose one, "
            f"dataset[{next(iter(dataset), 'train')!r}], or split=… where a name is given"
        )
    if not hasattr(dataset, "features") or not hasattr(dataset, "with_format"):
        raise TypeError(
            f"{type(dataset).__name__} is no data set of Hugging Face's datasets: "
            "data.from_sequence takes anything with a length and items by position"
        )
    if is_streamed(dataset):
        raise TypeError(
            "the data set is streamed, so its rows cannot be read by position: "
            "data.stream_huggingface(dataset, batch_size) makes batches of it as they come"
        )
    return dataset


def is_streamed(dataset: Any) -> bool:
    """Returns whether a data set is a `datasets.IterableDataset`."""
    return any(kind.__name__ == "IterableDataset" for kind in type(dataset).__mro__)


def import_datasets() -> Any:
    """Imports the library.

    Returns:
      The module `datasets`.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            'Hugging Face\'s datasets is not installed: pip install "jaxkd-distill[huggingface]"'
        ) from error
    return datasets


def image_column(rows: Any, image: str | None) -> str:
    """Returns the column of the images.

    Args:
      rows: a data set, streamed or not.
      image: its name, or None for the only one.

    Raises:
      ValueError: no such column, or several that it might be.
    """
    found = _of_kind(rows, "Image")
    if image is None and len(found) == 1:
        return found[0]
    if image is None or image not in (rows.features or {}):
        raise ValueError(
            f"{'which column has the images?' if image is None else f'no column {image!r}:'} The "
            f"data set has {_listed(rows)}: name one, image=…, or of numbers, inputs=…"
        )
    return image


def label_columns(rows: Any, label: str | Sequence[str] | None) -> list[str]:
    """Returns the columns of the labels.

    Args:
      rows: a data set, streamed or not.
      label: one name, several, or None for the only column of classes with names.

    Raises:
      ValueError: no such column, or several that it might be.
    """
    if label is None:
        found = _of_kind(rows, "ClassLabel")
        if len(found) > 1:
            raise ValueError(f"which column has the labels, {' or '.join(found)}? Write label=…")
        return found
    names = [label] if isinstance(label, str) else list(label)
    if missing := [one for one in names if one not in (rows.features or {})]:
        raise ValueError(f"no column {missing[0]!r}: the data set has {_listed(rows)}")
    return names


def names_of(rows: Any, column: str) -> tuple[str, ...]:
    """Returns the names of the classes of a column, empty if they have none."""
    return tuple(getattr((rows.features or {}).get(column), "names", None) or ())


def encoded_images(rows: Any, column: str) -> Any:
    """Returns a data set whose images are read as they are stored, and decoded by us."""
    feature: Any = (rows.features or {}).get(column)
    if type(feature).__name__ != "Image":
        return rows
    return rows.cast_column(column, type(feature)(decode=False))


def content_of(value: Any) -> bytes:
    """Returns the content of an encoded image of a row.

    Args:
      value: its content, its path, or both.

    Raises:
      TypeError: it is something else.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        with open(value, "rb") as file:
            return file.read()
    if not isinstance(value, bytes):
        raise TypeError(f"it is {type(value).__name__} and no encoded image")
    return value


def read_columns(rows: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """Reads whole columns of a data set by position; those of classes as numbers."""
    if not names:
        return {}
    table = rows.select_columns(list(names)).with_format(None)[:]
    # -1 is the number of no class: of a test split without labels.
    return {
        name: [None if value == -1 else value for value in table[name]]
        if names_of(rows, name)
        else list(table[name])
        for name in names
    }


class _Images(Sequence[bytes]):
    """Encoded images of a column by position."""

    def __init__(self, rows: Any, column: str):
        self._rows, self._column = rows.select_columns([column]).with_format(None), column

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: Any) -> bytes:  # type: ignore[override]
        return content_of(self._rows[int(position)][self._column])


def _fields(row: Mapping[str, Any], columns: str | Sequence[str]) -> Any:
    return row[columns] if isinstance(columns, str) else {name: row[name] for name in columns}


def _of_kind(rows: Any, kind: str) -> list[str]:
    return [
        name for name, feature in (rows.features or {}).items() if type(feature).__name__ == kind
    ]


def _listed(rows: Any) -> str:
    return ", ".join(
        f"{name} ({type(one).__name__})" for name, one in (rows.features or {}).items()
    )
