"""Tiny data sets as tensorflow-datasets prepares them, written without TensorFlow."""

import io

import numpy as np
import pytest

CLASSES = ("cat", "dog", "owl")


def small_pictures(n, seed):
    """uint8 `[n, 32, 32, 3]`."""
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)


def photos(n, seed):
    """JPEG files of many sizes, smooth enough that a crop is not all noise."""
    from PIL import Image

    generator, files = np.random.default_rng(seed), []
    for width, height in generator.integers(40, 160, (n, 2)):
        noise = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8))
        file = io.BytesIO()
        noise.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def prepare(data_dir, name, splits, *, shape=(None, None, 3), labels=None, shards=None):
    """Prepares a data set of encoded or PIL images; example i has class i % 3."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.3")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=shape),
                "label": labels or tfds.features.ClassLabel(names=list(CLASSES)),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {split: self._generate_examples(images) for split, images in splits.items()}

        def _generate_examples(self, images):
            for key, image in enumerate(images):
                yield key, {"image": image, "label": key % 3}

    Prepared.name = name
    builder = Prepared(data_dir=data_dir)
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(num_shards=shards or 1),
    )
    return builder
