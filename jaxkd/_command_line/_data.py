"""The data that a command names, in parts, and how networks see it."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxkd import data
from jaxkd._files import local_path
from jaxkd._named_function import named_function
from jaxkd.data import Examples, _tfds
from jaxkd.data._image_files import list_images
from jaxkd.networks._arguments import shown
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
      FileNotFoundError: no such folder or file, or a data set that is not prepared.
      ValueError: no such data set, or examples that are no images of 8 bits with one class each.
    """
    place = local_path(given.data)
    if place.is_dir():
        found = _folders(place, given.size)
    elif place.is_file():
        found = {"all": _table(place, given)}
    elif _is_function(given.data):
        found = _of_function(given.data)
    else:
        found = _named(given.data, given)
    first = next(iter(found.values()))
    inputs = first.read(first.ids[:1], 0)
    if not isinstance(inputs, np.ndarray) or inputs.dtype != np.uint8 or inputs.ndim != 4:
        raise ValueError(
            f"the examples of {given.data} are no images of 8 bits, [height, width, channels], but "
            f"{shown(inputs)}: others are distilled from Python, jaxkd.distill(student, teacher, …)"
        )
    if not _has_classes(first):
        raise ValueError(
            f"the examples of {given.data} have no classes: put the images of each class into a "
            "folder of its name, or name the column of the labels, --label-column"
        )
    if first.num_classes == 1:
        names = ", ".join(map(str, first.class_names)) or "0"
        raise ValueError(
            f"all examples of {given.data} are of one class, {names}: name the folder that holds a "
            "folder for each class, or the column of the labels, --label-column"
        )
    return _divided(found)


def make_views(given: argparse.Namespace, shape: tuple[int, ...]) -> Views:
    """Returns how networks see the training images.

    Args:
      given: parsed options.
      shape: of an image.

    Raises:
      ValueError: means or deviations of another number of channels.
    """
    for name in ("mean", "std"):
        if len(numbers := getattr(given, name)) not in (1, shape[-1]):
            raise ValueError(
                f"--{name} has {len(numbers)} numbers, and the images have {shape[-1]} channels"
            )
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
    # Those that file managers leave behind are neither parts nor classes.
    inside = {name.lower(): root / name for name in list_images(str(root))[1]}
    named = {
        part: inside[name] for part, names in _NAMES.items() for name in names if name in inside
    }
    others = sorted(path.name for path in inside.values() if path not in named.values())
    if "train" in named and len(named) > 1 and others:
        parts = ", ".join(sorted(path.name for path in named.values()))
        raise ValueError(
            f"{root} has the parts {parts}, and beside them {', '.join(others[:5])}: move what is "
            "no part to another place, for otherwise the parts would be classes"
        )
    if "train" not in named or others:
        return {"all": data.folder(root, size=size)}
    train = data.folder(named["train"], size=size, split="train")
    found: dict[str, Examples] = {"train": train}
    for part, path in named.items():
        if part != "train":
            found[part] = data.folder(path, size=size, split=part, class_names=train.class_names)
    return found


def _table(place: Any, given: argparse.Namespace) -> Examples:
    if place.suffix.lower() not in _TABLES:
        raise ValueError(f"a table is a file {', '.join(_TABLES)}, not {place}")
    columns = {"path": given.path_column, "label": given.label_column}
    try:
        return data.from_table(place, **columns, size=given.size, num_classes=given.num_classes)
    except ValueError as error:
        if given.num_classes is None and "num_classes" in str(error):
            error.add_note("With a command --num-classes says it.")
        raise


def _is_function(name: str) -> bool:
    """Whether a name is module:function, and neither a path nor a URL."""
    module, colon, function = name.partition(":")
    return bool(colon) and module.replace(".", "_").isidentifier() and function.isidentifier()


def _of_function(name: str) -> dict[str, Examples]:
    made = named_function(name)()
    if isinstance(made, Examples):
        return {"all": made}
    parts = dict(made) if isinstance(made, Mapping) else {}
    wrong = set(parts) - set(_NAMES) or not all(isinstance(p, Examples) for p in parts.values())
    if wrong or "train" not in parts:
        raise ValueError(
            f"{name} must return examples, jaxkd.data.Dataset.from_arrays(…) for one, or a mapping "
            f"of them by 'train' and perhaps 'validation' and 'test', not {shown(made)}"
        )
    return parts


def _named(name: str, given: argparse.Namespace) -> dict[str, Examples]:
    # What is surely a path is not looked up as a name.
    if name.endswith("/") or name.startswith((".", "/", "~")) or local_path(name).suffix:
        raise FileNotFoundError(f"there is no folder or file {name}")
    try:
        load = _loader_of(name, given)
        found = {"train": load("train")}
    except (ValueError, OSError, ImportError) as error:
        error.add_note(f"There is no folder or file {name} either.")
        raise
    for part, names in _NAMES.items():
        for split in names:
            if part != "train" and part not in found:
                try:
                    found[part] = load(split)
                except ValueError:  # it has no such split
                    continue
    return found


def _loader_of(name: str, given: argparse.Namespace) -> Callable[[str], Examples]:
    """Returns what opens a split of a data set of tensorflow-datasets."""
    builder = _tfds.make_builder(name, given.data_dir)
    if not builder.is_prepared():
        try:
            _tfds.prepare(name, builder)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"the data set {name} is not prepared in {builder.data_path}: name the folder that "
                "holds it, --data-dir DIR, or pip install 'jaxkd-distill[download]', and the same "
                "command downloads and prepares it"
            ) from error
    options: dict[str, Any] = {"data_dir": given.data_dir}
    if None not in _tfds.image_features(name, builder).shape:
        return lambda split: data.images.load(name, split, **options)
    options |= {"image_size": given.size, "crop": data.CenterCrop(given.size)}
    return lambda split: data.imagenet.load(name, split, **options)


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
