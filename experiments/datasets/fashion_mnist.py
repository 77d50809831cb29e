"""Fashion-MNIST through tensorflow-datasets, without TensorFlow.

tensorflow-datasets can read a prepared data set without TensorFlow, but its own download needs it.
`prepare` fills that gap: it writes the data set `fashion_mnist`, as tensorflow-datasets names and
lays it out, from the four published IDX files. On Debian and Ubuntu these are a package:

    apt-get install dataset-fashion-mnist
    python -m experiments.datasets.fashion_mnist prepare --data_dir ~/tensorflow_datasets

`load` then reads it, and also reads what tensorflow-datasets prepared itself in the format
`array_record`. An example id is the row number in the published file. tensorflow-datasets stores
the examples in another order, which `load` undoes; it checks the result against the published
content, so an id means the same image everywhere.

References:
  H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
  Learning Algorithms", 2017.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from experiments.datasets._archives import gunzip
from experiments.datasets._prepare import command_line
from jaxkd._files import local_path
from jaxkd.data import Dataset
from jaxkd.data._tfds import absolute

DEBIAN_SOURCE_DIR = "/usr/share/datasets/fashion-mnist"
"""Where the Debian package `dataset-fashion-mnist` puts the four IDX files."""

_BLOCK = 1024  # records read at once
_MOST_BYTES = 1 << 26  # of a decompressed file; the largest has 47,040,016
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# Of the decompressed files: a gzip header differs from one packager to the next, the content not.
_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load(
    split: Literal["train", "test"], *, data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Loads one split into memory, with published row numbers as example ids.

    If nothing is prepared and TensorFlow is installed, tensorflow-datasets downloads and prepares
    the data set first.

    Args:
      split: `"train"` (60,000 examples) or `"test"` (10,000).
      data_dir: folder of the prepared data sets. None: that of tensorflow-datasets, which is
        `~/tensorflow_datasets` unless `TFDS_DATA_DIR` names another.

    Returns:
      The dataset: inputs uint8 `[n, 28, 28, 1]`, ids `0..n-1`, all labels.

    Raises:
      FileNotFoundError: if nothing is prepared and TensorFlow is not installed.
      ImportError: if tensorflow-datasets, or something it needs, is not installed.
      ValueError: if the split is unknown, or the prepared data cannot be read without TensorFlow
        or is not what was published.
    """
    if split not in _FILES:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}.")
    builder = _import_tfds().builder("fashion_mnist", data_dir=absolute(data_dir))
    # Asked first: a data source of what is not prepared waits for the network, or misleads.
    if not builder.is_prepared():
        if importlib.util.find_spec("tensorflow") is None:
            raise FileNotFoundError(
                f"Fashion-MNIST is not prepared in {builder.data_path}. Either prepare it from its "
                "published files:\n"
                "  apt-get install dataset-fashion-mnist\n"
                "  python -m experiments.datasets.fashion_mnist prepare"
                f"{'' if data_dir is None else f' --data_dir {os.fspath(data_dir)}'}\n"
                "or let tensorflow-datasets download it, which needs TensorFlow:\n"
                '  pip install "jaxkd-distill[download]"'
            )
        builder.download_and_prepare(file_format="array_record")
    images, labels = _read(_data_source(builder, split), split)
    for file, array in zip(_FILES[split], (images, labels), strict=True):
        found = hashlib.sha256(_to_idx(array)).hexdigest()
        if found != _SHA256[file]:
            raise ValueError(
                f"The {split} split prepared in {builder.data_path} is not the published "
                f"Fashion-MNIST: its {file} has sha256 {found}, the published one {_SHA256[file]}. "
                "Delete that folder and prepare it again."
            )
    return Dataset.from_arrays(
        images,
        labels,
        name="fashion_mnist",
        version=str(builder.version),
        split=split,
        num_classes=10,
        class_names=tuple(builder.info.features["label"].names),
    )


def prepare(
    source_dir: str | os.PathLike[str] = DEBIAN_SOURCE_DIR,
    data_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes the data set `fashion_mnist` of tensorflow-datasets from the published IDX files.

    A data set that is already prepared is left as it is.

    Args:
      source_dir: folder of the four files `{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz`.
      data_dir: folder to prepare in; None as in `load`.

    Returns:
      The folder of the prepared data set.

    Raises:
      FileNotFoundError: if one of the files is missing.
      ImportError: if tensorflow-datasets, or something it needs, is not installed.
      ValueError: if the content of a file is not the published one, or the data set is already
        prepared in a format that needs TensorFlow.
    """
    _import_tfds()
    from PIL import Image
    from tensorflow_datasets.image_classification.mnist import FashionMNIST

    arrays = {
        split: tuple(_read_published(local_path(source_dir), file) for file in files)
        for split, files in _FILES.items()
    }

    class Builder(FashionMNIST, skip_registration=True):  # type: ignore[call-arg]
        name = "fashion_mnist"

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
            del dl_manager  # nothing to download
            return {split: self._generate_examples(*pair) for split, pair in arrays.items()}

        def _generate_examples(
            self, images: np.ndarray, labels: np.ndarray
        ) -> Iterator[tuple[int, Any]]:
            # The keys are those of tensorflow-datasets, so the stored order is its own as well. An
            # array would be encoded by TensorFlow, a PIL image is not.
            for key, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield key, {"image": Image.fromarray(image), "label": int(label)}

    builder = Builder(data_dir=absolute(data_dir))
    if not builder.is_prepared():
        builder.download_and_prepare(file_format="array_record")
    for split in _FILES:
        _data_source(builder, split)
    return Path(builder.data_path)


def _import_tfds() -> ModuleType:
    """Imports tensorflow-datasets, and what it needs but does not declare."""
    try:
        import importlib_resources  # noqa: F401
        import PIL  # noqa: F401
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"Fashion-MNIST is read by tensorflow-datasets, and {error.name} is not installed: "
            'pip install "jaxkd-distill[data]"'
        ) from error
    return tensorflow_datasets


def _data_source(builder: Any, split: str) -> Any:
    try:
        return builder.as_data_source(split)
    except NotImplementedError as error:
        raise ValueError(
            f"Fashion-MNIST is prepared in {builder.data_path} in the format "
            f"{builder.info.file_format.value}, which only TensorFlow reads. Prepare it in another "
            "data_dir (python -m experiments.datasets.fashion_mnist prepare --data_dir ...) or "
            "delete that folder."
        ) from error


def _read(source: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a whole data source into images and labels in the order of the published file."""
    from rich.console import Console
    from rich.progress import track

    n = len(source)
    # tensorflow-datasets stores examples in the order of md5(split + key), and a key is a row.
    stored = sorted(range(n), key=lambda row: hashlib.md5(f"{split}{row}".encode()).digest())
    images = np.empty((n, 28, 28, 1), np.uint8)
    labels = np.empty(n, np.uint8)
    console = Console(stderr=True)
    for start in track(
        range(0, n, _BLOCK),
        description=f"Reading fashion_mnist {split}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        block = stored[start : start + _BLOCK]
        examples = source.__getitems__(list(range(start, start + len(block))))
        images[block] = [example["image"] for example in examples]
        labels[block] = [example["label"] for example in examples]
    return images, labels


def _read_published(source_dir: Path, file: str) -> np.ndarray:
    path = source_dir / f"{file}.gz"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. The Debian package dataset-fashion-mnist puts it into "
            f"{DEBIAN_SOURCE_DIR}; name another folder of the four files with source_dir."
        )
    content = gunzip(path, _MOST_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[file]:
        raise ValueError(
            f"{path} is not the published file: its decompressed content has sha256 {found}, the "
            f"published one {_SHA256[file]}."
        )
    return _from_idx(content)


def _from_idx(content: bytes) -> np.ndarray:
    """Reads an IDX file of bytes: 0, 0, 8 (uint8), rank; big-endian sizes; values."""
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _to_idx(array: np.ndarray) -> bytes:
    """Writes uint8 images `[n, h, w, 1]` or labels `[n]` as the IDX file they came from."""
    shape = array.shape[:3]
    header = bytes([0, 0, 8, len(shape)]) + np.asarray(shape, ">i4").tobytes()
    return header + array.tobytes()


def _main() -> None:
    command_line(
        "fashion_mnist",
        "Fashion-MNIST",
        "write the tensorflow-datasets data set from the four published IDX files",
        source=(
            "--source_dir",
            "folder of the four .gz files (default: %(default)s, of Debian's package)",
        ),
        default=DEBIAN_SOURCE_DIR,
        data_dir="folder of the prepared data sets (default: that of tensorflow-datasets)",
        prepare=prepare,
        load=load,
        done="Fashion-MNIST is prepared in {path}; read back, it is what was published:",
    )


if __name__ == "__main__":
    _main()
