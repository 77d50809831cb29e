"""CIFAR and other sets of small images through tensorflow-datasets, without TensorFlow.

tensorflow-datasets reads what is prepared in the format `array_record` without TensorFlow; to
download and prepare it needs TensorFlow once (`pip install "jaxkd-distill[download]"`), on this
machine or another. All images of a split are decoded once into memory.

An example id is the position of the example in the prepared split. tensorflow-datasets fixes this
order by a hash of the examples' keys, whatever the number of files, so that every preparation of a
version has the same; the fingerprint covers ids and pixels and tells if it has not.

Example:
  >>> from jaxkd.data import images
  >>> images.load("cifar100", "train", mock=200)
  Dataset('mock_cifar100' ..., split 'train': 200 examples uint8[32, 32, 3], 200 labeled, 100
  classes)
"""

import os

import numpy as np

from jaxkd.data import _decoding, _mock, _tfds
from jaxkd.data._dataset import Dataset

_SIDE = 32


def load(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    mock: int = 0,
    seed: int = 0,
) -> Dataset:
    """Loads one split of an image classification data set into memory.

    If nothing is prepared and TensorFlow is installed, tensorflow-datasets downloads and prepares
    the data set first.

    Args:
      name: name of the data set, such as `"cifar10"`, `"cifar100"`, `"svhn_cropped"`, `"stl10"` or
        `"imagenet_resized/32x32"`, all of whose images have one size.
      split: name of the split, such as `"train"` or `"test"`; a whole one, parts are selected by
        ids.
      data_dir: folder of the prepared data sets. None: that of tensorflow-datasets, which is
        `~/tensorflow_datasets` unless `TFDS_DATA_DIR` names another.
      mock: if positive, that number of synthetic examples of the same shape and classes instead,
        whose classes can be learned. They are a data set of another name, `"mock_cifar100"`, and
        need no files.
      seed: seed of synthetic examples.

    Returns:
      The dataset: inputs uint8 `[n, height, width, channels]`, ids `0..n-1`, all labels.

    Raises:
      FileNotFoundError: if nothing is prepared and TensorFlow is not installed.
      ImportError: if tensorflow-datasets, or something it needs, is not installed.
      ValueError: if there is no such data set or split, it has no images of one size with one
        class each, or its files can only be read by TensorFlow.

    Example:
      >>> images = load("cifar10", "test", mock=100)
      >>> images.shape, images.num_classes, len(images)
      ((32, 32, 3), 10, 100)

    Reference:
      Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (CIFAR).
    """
    _mock.check_mock(mock, split)
    builder = _tfds.make_builder(name, data_dir)
    features = _tfds.image_features(name, builder)
    if None in features.shape:
        raise ValueError(
            f"the images of {name} differ in size, {list(features.shape)}: they are decoded when "
            f"they are read, by jaxkd.data.imagenet.load({name!r}, {split!r})"
        )
    if mock:
        labels = _mock.mock_labels(mock, features.num_classes, split, seed)
        shape = tuple(side or 0 for side in features.shape)
        inputs = _mock.mock_images(labels, shape, split, seed)
    else:
        _tfds.prepare(name, builder)
        inputs, labels = _decoded(_tfds.open_split(name, builder, features, split), features, split)
    return Dataset.from_arrays(
        inputs,
        labels,
        name=f"mock_{name}" if mock else name,
        version=features.version,
        split=split,
        num_classes=features.num_classes,
        class_names=features.class_names,
    )


def as_cifar(dataset: Dataset) -> Dataset:
    """Shapes small images as CIFAR's: padded to 32×32, gray repeated in three channels.

    Networks and recipes for CIFAR then run on Fashion-MNIST unchanged. The result is a data set of
    its own, with a fingerprint of its own arrays: shape first, then select.

    Args:
      dataset: uint8 images `[n, height, width, 1 or 3]` of at most 32×32 pixels.

    Returns:
      A dataset of uint8 `[n, 32, 32, 3]`, same ids and labels, name `"<name>_as_cifar"`. Images lie
      in the middle, surrounded by zeros.

    Raises:
      ValueError: if the images are of another kind, or larger.

    Example:
      >>> gray = Dataset.from_arrays(
      ...     np.ones((2, 28, 28, 1), np.uint8), name="gray", split="train", num_classes=10)
      >>> as_cifar(gray)
      Dataset('gray_as_cifar' 1, split 'train': 2 examples uint8[32, 32, 3], 0 labeled, 10 classes)
    """
    shape = dataset.shape
    if (
        len(shape) != 3
        or dataset.inputs.dtype != np.uint8
        or max(shape[:2]) > _SIDE
        or shape[2] not in (1, 3)
    ):
        raise ValueError(
            f"images of at most {_SIDE}x{_SIDE} pixels, uint8 with 1 or 3 channels, can be shaped "
            f"as CIFAR's; {dataset.name} has {dataset.inputs.dtype}{list(shape)}"
        )
    upper, left = (_SIDE - shape[0]) // 2, (_SIDE - shape[1]) // 2
    inputs = np.zeros((len(dataset), _SIDE, _SIDE, 3), np.uint8)
    inputs[:, upper : upper + shape[0], left : left + shape[1]] = dataset.inputs
    return Dataset.from_arrays(
        inputs,
        dataset.labels,
        ids=dataset.ids,
        name=f"{dataset.name}_as_cifar",
        version=dataset.version,
        split=dataset.split,
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
    )


def _decoded(
    source: _tfds.Split, features: _tfds.ImageFeatures, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes all images and labels of a split."""
    shape = tuple(side or 0 for side in features.shape)
    inputs = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    mode = "L" if shape[2] == 1 else "RGB"
    for start, block in source.blocks(f"Reading {features.name} {split}"):
        for row, (content, label) in enumerate(block, start):
            with _decoding.open_image(content) as image:
                pixels = np.asarray(_decoding.convert(image, mode))
            if pixels.size != inputs[row].size or pixels.shape[:2] != shape[:2]:
                raise ValueError(
                    f"example {row} of {features.name} {split} is an image of "
                    f"{list(pixels.shape)}, the data set declares {list(shape)}: prepare it again"
                )
            inputs[row] = pixels.reshape(shape)
            labels[row] = label
    return inputs, labels
