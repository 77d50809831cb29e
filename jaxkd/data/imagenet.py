"""ImageNet and other sets of photographs through tensorflow-datasets, decoded when they are read.

The files stay as tensorflow-datasets prepared them, in the format `array_record`, which is read
without TensorFlow. (ImageNet's own files must be downloaded by hand, see its page in the catalog
of tensorflow-datasets; preparing them needs TensorFlow once.)

An example id is the position of the example in the prepared split, in the order that
tensorflow-datasets fixes by a hash of the examples' keys. The fingerprint is made of what it
recorded about the split (name, version, configuration, examples in each file, names and size of the
files) and of 16 images, not of all of them. Labels lie inside of the records: they are read from
all of them once, which for ImageNet takes as long as reading its 150 GB, and are then kept in a
file beside the data, or in a folder that the user names.

Example:
  >>> from jaxkd.data import imagenet
  >>> imagenet.load("imagenet2012", "validation", mock=4)
  EncodedImages('mock_imagenet2012' ..., split 'validation': 4 images read as uint8[224, 224, 3],
  4 labeled, 1000 classes)
"""

import os
from collections.abc import Sequence

from jaxkd.data import _mock, _tfds
from jaxkd.data._crops import CenterCrop, Crop, RandomResizedCrop
from jaxkd.data._encoded_images import EncodedImages


def load(
    name: str,
    split: str,
    *,
    image_size: int = 224,
    crop: Crop | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    labels_dir: str | os.PathLike[str] | None = None,
    mock: int = 0,
    seed: int = 0,
) -> EncodedImages:
    """Opens one split of an image classification data set.

    If nothing is prepared and TensorFlow is installed, tensorflow-datasets downloads and prepares
    the data set first.

    Args:
      name: name of the data set, such as `"imagenet2012"`, `"imagenette/320px-v2"` or `"food101"`.
      split: name of the split, such as `"train"` or `"validation"`; a whole one, parts are selected
        by ids.
      image_size: height and width of what is read: 224, or 299 for Inception.
      crop: what is done to an image. None: `RandomResizedCrop(image_size)` for a split named
        `"train"`, `CenterCrop(image_size)` for every other. Flips, normalizing and mixing are left
        to `jaxkd.Views`.
      data_dir: folder of the prepared data sets. None: that of tensorflow-datasets, which is
        `~/tensorflow_datasets` unless `TFDS_DATA_DIR` names another.
      labels_dir: folder of the file that keeps the labels. None: that of the prepared data set.
      mock: if positive, that number of synthetic JPEG files of photographs' sizes instead, with the
        same classes, in memory. They are a data set of another name, `"mock_imagenet2012"`.
      seed: seed of synthetic examples; the crop has one of its own.

    Returns:
      The images, read as uint8 `[n, image_size, image_size, 3]`; ids `0..n-1`, all labels.

    Raises:
      FileNotFoundError: if nothing is prepared and TensorFlow is not installed.
      ImportError: if tensorflow-datasets, or something it needs, is not installed.
      OSError: if the labels cannot be kept in `labels_dir`.
      ValueError: if there is no such data set or split, it has no images with one class each, its
        files can only be read by TensorFlow, or the crop is of another size.

    Example:
      >>> photographs = load("imagenette/320px-v2", "train", image_size=32, mock=20)
      >>> photographs.shape, photographs.num_classes, len(photographs)
      ((32, 32, 3), 10, 20)

    Reference:
      Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015, IJCV.
    """
    _mock.check_mock(mock, split)
    if crop is None:
        crop = RandomResizedCrop(image_size) if split == "train" else CenterCrop(image_size)
    if crop.size != image_size:
        raise ValueError(
            f"the crop has size {crop.size}, image_size is {image_size}: make them one"
        )
    builder = _tfds.make_builder(name, data_dir)
    features = _tfds.image_features(name, builder)
    source: Sequence[bytes]
    if mock:
        labels = _mock.mock_labels(mock, features.num_classes, split, seed)
        source, digest = _mock.mock_jpegs(labels, split, seed), None
    else:
        _tfds.prepare(name, builder)
        source = opened = _tfds.open_split(name, builder, features, split)
        digest = _tfds.fingerprint(builder, features, split, opened)
        labels = _tfds.read_labels(
            opened, f"{name}_{split}", labels_dir or builder.data_path, digest
        )
    return EncodedImages.from_source(
        source,
        labels,
        crop=crop,
        name=f"mock_{name}" if mock else name,
        version=features.version,
        split=split,
        num_classes=features.num_classes,
        class_names=features.class_names,
        fingerprint=digest,
    )
