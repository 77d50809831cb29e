"""Texts from a folder of plain text files, or from a text data set of tensorflow-datasets."""

import os
from collections.abc import Iterable
from typing import Any

from jaxkd._files import local_path
from jaxkd.data._texts import Texts
from jaxkd.data._tfds import import_tfds, make_builder, prepare


def load(
    path: str | os.PathLike[str], *, split: str, pattern: str = "**/*.txt", name: str | None = None
) -> Texts:
    """Reads each file of a folder as one text.

    Args:
      path: path of the folder.
      split: name of the split that they form.
      pattern: pattern of the files, as of `Path.glob`.
      name: name of the data set; by default that of the folder.

    Returns:
      The texts in the order of their files' relative names, which are numbered from 0. A file that
      is added later renumbers those after it: name data that has changed anew.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file that is not UTF-8; names it.

    Example:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> _ = (folder / "a.txt").write_bytes(b"one"), (folder / "b.txt").write_bytes(b"two")
      >>> load(folder, split="train", name="own")
      Texts('own' 1, split 'train': 2 texts of 6 characters)
    """
    folder = local_path(path)
    files = sorted(file for file in folder.glob(pattern) if file.is_file())
    if not files:
        raise FileNotFoundError(f"there is no file {pattern} in {folder}")
    texts = []
    for file in files:
        try:
            texts.append(file.read_bytes().decode())
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8: {error}") from error
    return Texts.from_texts(texts, name=name or folder.resolve().name, split=split)


def from_tfds(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    text: str = "text",
    label: str | None = None,
) -> Texts:
    """Reads a text data set of tensorflow-datasets, such as `"ag_news_subset"` or `"lm1b"`.

    If nothing is prepared and TensorFlow is installed, it is downloaded and prepared first.

    Args:
      name: name of the data set, with its configuration.
      split: name of the split.
      data_dir: folder of the prepared data sets; None: that of tensorflow-datasets.
      text: key of the text.
      label: key of the class; None where there are no classes to be read.

    Returns:
      The texts in their stored order, which numbers them.

    Raises:
      FileNotFoundError: nothing is prepared and TensorFlow is not installed.
      ImportError: tensorflow-datasets is not installed.
      ValueError: no such data set, split or key.

    Example:
      >>> from_tfds("ag_news_subset", "train", text="description", label="label")  # doctest: +SKIP
    """
    tfds = import_tfds(name)
    builder = make_builder(name, data_dir)
    prepare(name, builder)
    if split not in builder.info.splits:
        raise ValueError(f"{name} has no split {split!r}, it has {sorted(builder.info.splits)}")
    features = builder.info.features
    for key in (text, *([] if label is None else [label])):
        if key not in features:
            raise ValueError(f"{name} has no {key!r}, it has {sorted(features)}")
    classes = None if label is None else features[label]
    if classes is not None and not isinstance(classes, tfds.features.ClassLabel):
        raise ValueError(f"{label!r} of {name} must be a class, and is {classes}")
    source: Iterable[Any] = builder.as_data_source(split)
    texts, labels = [], []
    for example in source:
        content = example[text]
        texts.append(content.decode() if isinstance(content, bytes) else str(content))
        if label is not None:
            labels.append(int(example[label]))
    return Texts.from_texts(
        texts,
        labels if classes is not None else None,
        name=name,
        version=str(builder.version),
        split=split,
        num_classes=0 if classes is None else int(classes.num_classes),
        class_names=() if classes is None else tuple(classes.names or ()),
    )
