"""Image classification data of tensorflow-datasets, read without TensorFlow."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from jaxkd._files import local_path

_BLOCK = 1024  # records read at once
_SAMPLED = 16  # records of a split whose content is part of its fingerprint


def import_tfds(what: str) -> ModuleType:
    """Imports tensorflow-datasets, and what it needs but does not declare.

    Args:
      what: name of the data set to be read, for the message.

    Returns:
      The module `tensorflow_datasets`.

    Raises:
      ImportError: something is not installed.
    """
    try:
        import importlib_resources  # noqa: F401
        import PIL  # noqa: F401
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"{what} is read by tensorflow-datasets, and {error.name} is not installed: "
            'pip install "jaxkd-distill[data]"'
        ) from error
    return tensorflow_datasets


@dataclasses.dataclass(frozen=True)
class ImageFeatures:
    """The features of a data set of images with one class each.

    Attributes:
      name: as the user gave it, with its configuration.
      version: of the data set.
      image: key of the image.
      label: key of the label.
      shape: of the images, None where they differ.
      num_classes: number of classes.
      class_names: one name a class, or empty.
    """

    name: str
    version: str
    image: str
    label: str
    shape: tuple[int | None, ...]
    num_classes: int
    class_names: tuple[str, ...]


def make_builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """Returns the builder of a data set, whether or not it is prepared.

    Args:
      name: name of the data set.
      data_dir: folder of the prepared data sets; None: that of tensorflow-datasets.

    Raises:
      ImportError: something is not installed.
      ValueError: tensorflow-datasets knows no data set of this name.
    """
    tfds = import_tfds(name)
    try:
        return tfds.builder(name, data_dir=absolute(data_dir))
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"tensorflow-datasets has no data set {name!r}, and none of this name is prepared in "
            f"{data_dir or 'its data_dir'}; the names are at "
            "https://www.tensorflow.org/datasets/catalog/overview"
        ) from error


def absolute(folder: str | os.PathLike[str] | None) -> str | None:
    """Returns a folder as it is found after a change of directory; a URL such as gs:// as it is.

    Args:
      folder: path or URL; None stays None.
    """
    if folder is None:
        return None
    kind, separator, _ = os.fspath(folder).partition("://")
    return os.fspath(folder if separator and kind != "file" else local_path(folder))


def image_features(name: str, builder: Any) -> ImageFeatures:
    """Checks that a builder's examples are images with one class each.

    Args:
      name: name of the data set.
      builder: its builder.

    Returns:
      The names, shape and classes of the features.

    Raises:
      ValueError: they are something else; says what.
    """
    tfds = import_tfds(name)
    features = builder.info.features
    keys = builder.info.supervised_keys
    image, label = keys if keys is not None and len(keys) == 2 else ("image", "label")
    wanted = {image: tfds.features.Image, label: tfds.features.ClassLabel}
    for key, kind in wanted.items():
        found = features[key] if key in getattr(features, "keys", tuple)() else None
        if not isinstance(found, kind) or (key == image and found.np_dtype != np.uint8):
            raise ValueError(
                f"{name} is no image classification: its {key!r} must be a uint8 "
                f"{kind.__name__} feature, and is {found}"
            )
    labels = features[label]
    return ImageFeatures(
        name=name,
        version=str(builder.version),
        image=image,
        label=label,
        shape=tuple(features[image].shape),
        num_classes=int(labels.num_classes),
        class_names=tuple(labels.names or ()),
    )


def prepare(name: str, builder: Any) -> None:
    """Prepares a data set that is not prepared, if TensorFlow is installed.

    Args:
      name: name of the data set, for the message.
      builder: its builder.

    Raises:
      FileNotFoundError: it is not prepared, and TensorFlow is not installed.
    """
    # Checked first: a data source of what is not prepared waits for the network, or misleads.
    if builder.is_prepared():
        return
    if importlib.util.find_spec("tensorflow") is None:
        raise FileNotFoundError(
            f"{name} is not prepared in {builder.data_path}. tensorflow-datasets downloads and "
            "prepares it where TensorFlow is installed:\n"
            '  pip install "jaxkd-distill[download]"\n'
            "and the same call again; or do that on another machine and copy the folder, or name "
            "the folder where data sets are prepared with data_dir. For a trial without data: "
            "mock=1000"
        )
    builder.download_and_prepare(file_format="array_record")


def open_split(name: str, builder: Any, features: ImageFeatures, split: str) -> "Split":
    """Opens one split of a prepared data set.

    Args:
      name: name of the data set, for messages.
      builder: its builder.
      features: its features.
      split: name of the split.

    Returns:
      The split, which reads its examples by index.

    Raises:
      ValueError: there is no such split, or its files can only be read by TensorFlow.
    """
    if split not in builder.info.splits:
        raise ValueError(
            f"{name} has no split {split!r}, it has {sorted(builder.info.splits)}; for a part of "
            "one, load it and select by ids: dataset.select(dataset.ids[:1000])"
        )
    opened = Split(os.fspath(builder.data_path), split, features.image, features.label)
    try:
        len(opened)
    except NotImplementedError as error:
        raise ValueError(
            f"{name} is prepared in {builder.data_path} in the format "
            f"{builder.info.file_format.value}, which only TensorFlow reads. Where TensorFlow is "
            "installed, convert it:\n"
            f"  tfds convert_format --dataset_dir={builder.data_path} "
            "--out_file_format=array_record --out_dir=ANOTHER_DIR/"
            f"{builder.info.full_name}\n"
            "and load it with data_dir=ANOTHER_DIR"
        ) from error
    return opened


class Split(Sequence[bytes]):
    """Encoded images of a prepared split by position, opened anew in each process.

    Args:
      directory: folder of the prepared data set.
      split: name of the split.
      image: key of the image.
      label: key of the label.
    """

    def __init__(self, directory: str, split: str, image: str, label: str):
        self._directory, self._split, self._image, self._label = directory, split, image, label
        self._opened: Any = None

    def __len__(self) -> int:
        return len(self._source())

    def __getitem__(self, position: Any) -> bytes:  # type: ignore[override]
        return self._source()[position][self._image]

    def read(self, start: int) -> list[tuple[bytes, int]]:
        """Reads encoded images and labels of a block that begins at a position."""
        positions = list(range(start, min(start + _BLOCK, len(self))))
        return [
            (e[self._image], int(e[self._label])) for e in self._source().__getitems__(positions)
        ]

    def blocks(self, doing: str) -> Iterator[tuple[int, list[tuple[bytes, int]]]]:
        """Yields all of the split in order, with a progress bar on a terminal.

        Args:
          doing: text before the progress bar.

        Yields:
          Position of the first one, and encoded images with labels.
        """
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        for start in track(
            range(0, len(self), _BLOCK),
            description=doing,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            yield start, self.read(start)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _source(self) -> Any:
        if self._opened is None:
            tfds = import_tfds(self._directory)
            builder = tfds.builder_from_directory(self._directory)
            self._opened = builder.as_data_source(
                self._split, decoders={self._image: tfds.decode.SkipDecoding()}
            )
        return self._opened


def fingerprint(builder: Any, features: ImageFeatures, split: str, source: Sequence[bytes]) -> str:
    """Returns a name for the content of a split without reading it all.

    It is made of what tensorflow-datasets recorded when it prepared the data (name,
    configuration, version, split, number of examples in each file, the files' names and their size
    in all) and of 16 images spread evenly over the split.

    Args:
      builder: builder of the data set.
      features: its features.
      split: name of the split.
      source: its encoded images.
    """
    info = builder.info.splits[split]
    described = {
        "name": builder.info.full_name,
        "split": split,
        "shard_lengths": list(info.shard_lengths),
        "filenames": sorted(info.filenames),
        "num_bytes": int(info.num_bytes),
    }
    digest = hashlib.sha256(f"jaxkd.tfds 1 {json.dumps(described, sort_keys=True)}".encode())
    for position in np.unique(np.linspace(0, len(source) - 1, _SAMPLED).astype(int)):
        content = source[int(position)]
        digest.update(f" {position} {len(content)} ".encode() + content)
    return f"sha256:{digest.hexdigest()}"


def read_labels(
    split: Split, name: str, directory: str | os.PathLike[str], digest: str
) -> np.ndarray:
    """Returns the labels of a split, read from all its records once and then from a file.

    Args:
      split: opened split.
      name: name of data set and split, for file and progress bar.
      directory: folder of the file.
      digest: fingerprint of the split, part of the file's name.

    Raises:
      OSError: the directory cannot be written to; before anything is read.
    """
    from etils import epath

    path = (
        epath.Path(str(absolute(directory))) / f"labels_{name.replace('/', '_')}_{digest[7:23]}.npy"
    )
    if path.exists():
        # A damaged file is one that is not there: the labels are read again.
        with contextlib.suppress(ValueError, EOFError):
            labels = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
            if labels.shape == (len(split),) and labels.dtype == np.int32:
                return labels
    # Processes of several hosts may have one number, and one directory.
    partial = path.parent / f"{path.name}.{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"")
    except OSError as error:
        raise OSError(
            f"the labels of {name} are read from all its records once and then kept in a file, and "
            f"{path.parent} cannot be written to ({error}): name a labels_dir that can"
        ) from error
    labels = np.empty(len(split), np.int32)
    for start, block in split.blocks(f"Reading labels of {name}"):
        labels[start : start + len(block)] = [label for _, label in block]
    content = io.BytesIO()
    np.save(content, labels)
    partial.write_bytes(content.getvalue())
    partial.replace(path)
    return labels
