"""Data sets of the experiments: one registry by name, and importers of single data sets.

`load_images` and `load_texts` load a split of any data set that an experiment names. What reads
data of any name is in the library: `jaxkd.data.images` and `jaxkd.data.imagenet` for image sets of
tensorflow-datasets, `jaxkd.data.plain` for texts. Here is one module a data set that has files of
its own: `fashion_mnist` (the published IDX files, as Debian packages them), `austen` (six novels),
`spam` (emails, ham or spam) and `fortunes` (short texts by topic). Those that need it are prepared
once: `python -m experiments.datasets.austen prepare --help`.
"""

import importlib
from typing import Any

from jaxkd.data import Dataset, Texts, images, plain

IMAGES = {"digits": "jaxkd.data.digits", "fashion_mnist": "experiments.datasets.fashion_mnist"}
"""Image sets with a module of their own, which are loaded by its `load`."""

TEXTS = {
    "austen": "experiments.datasets.austen",
    "spam": "experiments.datasets.spam",
    "fortunes": "experiments.datasets.fortunes",
}
"""Texts with a module of their own, likewise."""


def load_images(name: str, split: str, *, data_dir: str = "", mock: int = 0) -> Dataset:
    """Loads a split of a set of small images into memory.

    Args:
      name: one of `IMAGES`, or a data set of tensorflow-datasets that `jaxkd.data.images` reads.
      split: `"train"` or `"test"`.
      data_dir: folder of the prepared data, empty for the data set's default.
      mock: if positive, number of mock examples of the same shape and classes instead.

    Returns:
      The dataset, with all labels.

    Raises:
      FileNotFoundError: data that are not prepared; the message says how to prepare them.
      ValueError: no such data set, or mock examples of the digits, which need no download.
    """
    if mock and name == "digits":
        raise ValueError(
            f"mock={mock}, but there are no mock examples of 'digits', which need no download: "
            "leave mock=0, or take another data set, such as 'mnist'"
        )
    if mock or name not in IMAGES:
        return images.load(name, split, data_dir=data_dir or None, mock=mock)
    options: dict[str, Any] = {"data_dir": data_dir or None} if name != "digits" else {}
    # Imported here: a module that is run by `python -m` must not have been imported before.
    return importlib.import_module(IMAGES[name]).load(split, **options)


def load_texts(name: str, split: str, *, data_dir: str = "") -> Texts:
    """Loads a split of a set of texts into memory.

    Args:
      name: one of `TEXTS`, or a data set of tensorflow-datasets that `jaxkd.data.plain` reads.
      split: `"train"` or `"test"`.
      data_dir: folder of the prepared data, empty for the data set's default.

    Returns:
      The texts, with their labels if they have any.

    Raises:
      FileNotFoundError: data that are not there; the message says how to get them.
    """
    if name not in TEXTS:
        return plain.from_tfds(name, split, data_dir=data_dir or None)
    folder = "source_dir" if name == "fortunes" else "data_dir"
    options: dict[str, Any] = {folder: data_dir} if data_dir else {}
    return importlib.import_module(TEXTS[name]).load(split, **options)
