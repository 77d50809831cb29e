"""The data that a command names, in parts, and how networks see it."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxkd import data
from jaxkd._files import local_path
from jaxkd.data import Examples
from jaxkd.study._study_arguments import PARTS
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def open_parts(given: argparse.Namespace) -> dict[str, Examples]:
    """Opens the data of a command.

    Args:
      given: parsed options.

    Returns:
      The parts `train`, `validation` and `test`; what is not there is taken from what is.

    Raises:
      FileNotFoundError: no such folder or file.
      ValueError: no such data set, or examples without one class each.
    """
    place = local_path(given.data)
    if place.is_dir():
        found = _folders(place, given.size)
    elif place.is_file():
        found = {"all": _table(place, given)}
    else:
        found = _named(given.data, given.data_dir)
    first = next(iter(found.values()))
    if not _has_classes(first):
        raise ValueError(
            f"the examples of {given.data} have no classes: put the images of each class into a "
            "folder of its name, or name the column of the labels, --label-column"
        )
    return _divided(found)


def make_views(given: argparse.Namespace, shape: tuple[int, ...]) -> Views:
    """Returns how networks see the training images.

    Args:
      given: parsed options.
      shape: of an image.
    """
    random: dict[str, Any] = {
        "flip": RandomFlip(),
        "crop": RandomCrop(padding=max(1, shape[0] // 8)),
    }
    normalize = Normalize(tuple(given.mean), tuple(given.std))
    return Views((*(random[name] for name in given.augment), normalize))


def num_classes(parts: dict[str, Examples]) -> int:
    """Returns the number of classes of the training examples."""
    return int(parts["train"].num_classes)


def _folders(root: Any, size: int) -> dict[str, Examples]:
    inside = {child.name.lower(): child for child in root.iterdir() if child.is_dir()}
    named = {
        part: inside[name] for part, names in _NAMES.items() for name in names if name in inside
    }
    if "train" not in named or len(named) != len(inside):
        return {"all": data.folder(root, size=size)}
    train = data.folder(named["train"], size=size, split="train")
    others = {part: path for part, path in named.items() if part != "train"}
    found: dict[str, Examples] = {"train": train}
    for part, path in others.items():
        found[part] = data.folder(path, size=size, split=part, class_names=train.class_names)
    return found


def _table(place: Any, given: argparse.Namespace) -> Examples:
    if place.suffix.lower() not in _TABLES:
        raise ValueError(f"a table is a file {', '.join(_TABLES)}, not {place}")
    return data.from_table(place, path=given.path_column, label=given.label_column, size=given.size)


def _named(name: str, data_dir: str | None) -> dict[str, Examples]:
    load: Callable[..., Examples] = functools.partial(data.images.load, name, data_dir=data_dir)
    # What is surely a path is not looked up as a name.
    if name.endswith("/") or name.startswith((".", "/", "~")) or local_path(name).suffix:
        raise FileNotFoundError(f"there is no folder or file {name}")
    try:
        found = {"train": load("train")}
    except (ValueError, OSError, ImportError) as error:
        raise ValueError(
            f"there is no folder or file {name}, and no such data set: {error}"
        ) from error
    for part, names in _NAMES.items():
        for split in names:
            if part != "train" and part not in found:
                try:
                    found[part] = load(split)
                except ValueError:  # it has no such split
                    continue
    return found


def _has_classes(examples: Examples) -> bool:
    labels = examples.labels
    single = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"
    return single and bool(examples.num_classes) and bool((labels >= 0).any())


def _divided(found: dict[str, Examples]) -> dict[str, Examples]:
    """Takes the parts that are missing from those that are there."""
    if "all" in found:
        return dict(data.split(found["all"], PARTS))
    if "validation" not in found:
        parts = data.split(found["train"], {"train": 0.9, "validation": 0.1})
        found = {**parts, **{name: part for name, part in found.items() if name == "test"}}
    return found
