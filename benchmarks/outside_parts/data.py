"""Augmentations, data sets and loaders of other libraries."""

import itertools

import numpy as np

from benchmarks.outside_parts.comparing import (
    LABELS,
    PIXELS,
    ROWS,
    Case,
    Compared,
    as_batches,
    as_teacher,
    as_views,
    linear,
    rows,
)
from jaxkd import data
from jaxkd.views import Augment, Normalize, OnHost, Views


def dm_pix_brightness() -> Compared:
    import dm_pix

    # What one writes:
    views = Views((Augment(dm_pix.random_brightness, max_delta=0.2), Normalize()), seed=1)
    # To here.
    return as_views(views)


def dm_pix_flip_and_crop() -> Compared:
    import dm_pix

    # What one writes:
    flip = Augment(dm_pix.random_flip_left_right, kind="geometric")
    crop = Augment(dm_pix.random_crop, kind="geometric", crop_sizes=(8, 8, 3))
    views = Views((flip, crop, Normalize()), seed=1)
    # To here.
    return as_views(views)


def albumentations_pipeline() -> Compared:
    import albumentations as A  # noqa: N812  # as its documentation has it

    pipeline = A.Compose([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=1.0)])

    # What one writes:
    def augment(rng, image):
        pipeline.set_random_seed(int(rng.integers(2**31)))
        return pipeline(image=image)["image"]

    views = Views((OnHost(augment), Normalize()), seed=1)
    # To here.
    return as_views(views)


def torch_loader() -> Compared:
    import torch

    tensors = (torch.from_numpy(values) for values in (ROWS, LABELS, np.arange(8)))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), 4)
    epochs = lambda: itertools.chain.from_iterable(itertools.repeat(loader))  # noqa: E731
    online = ({"inputs": x, "labels": y} for x, y, _ in epochs())

    def cached(stored):
        # What one writes:
        return (
            {"inputs": x, "labels": y, "teacher": stored.read(ids.numpy(), view=0)}
            for x, y, ids in epochs()
        )
        # To here.

    return as_batches(online, cached, linear(6, seed=1))


def grain_pipeline() -> Compared:
    import grain

    def batches(source):
        # What one writes:
        examples = grain.MapDataset.source(source).shuffle(seed=0).repeat()
        return examples.batch(4).to_iter_dataset()
        # To here.

    online = batches(data.GrainSource(rows()))
    return as_batches(
        online, lambda stored: batches(data.GrainSource(cache=stored)), linear(6, seed=1)
    )


def generator() -> Compared:
    def cached(stored):
        # What one writes:
        def batches():
            for step in itertools.count():
                ids = 4 * (step % 2) + np.arange(4)
                teacher = stored.read(ids, view=0)
                yield {"inputs": ROWS[ids], "labels": LABELS[ids], "teacher": teacher}

        # To here.
        return batches()

    online = [{"inputs": ROWS[i : i + 4], "labels": LABELS[i : i + 4]} for i in (0, 4)] * 4
    return as_batches(online, cached, linear(6, seed=1))


def datasets_columns() -> Compared:
    import datasets

    features = datasets.Features(
        {
            "x": datasets.Sequence(datasets.Value("float32")),
            "label": datasets.ClassLabel(names=["a", "b", "c"]),
        }
    )
    table = datasets.Dataset.from_dict({"x": ROWS, "label": LABELS}, features=features)
    # What one writes:
    examples = data.from_huggingface(table, inputs="x", name="rows", split="train")
    # To here.
    network = linear(6)
    return as_teacher(network, ROWS, np.asarray(network(ROWS)["logits"]), examples)


def datasets_images() -> Compared:
    import datasets
    import PIL.Image

    pictures = [PIL.Image.fromarray(image) for image in PIXELS]
    table = datasets.Dataset.from_dict({"image": pictures, "label": LABELS})
    table = table.cast_column("image", datasets.Image())
    # What one writes:
    options = {"name": "images", "split": "train", "num_classes": 3}
    examples = data.from_huggingface(table, image="image", label="label", size=8, **options)
    # To here.
    # The shorter side is resized a little beyond the size, and the middle cut out, as usual.
    return as_teacher(linear(192), examples.read(examples.ids, 0), data=examples)


def cases() -> list[Case]:
    """Returns all cases of data."""
    return [
        Case.of("dm-pix: brightness as a view", dm_pix_brightness, "dm-pix"),
        Case.of("dm-pix: flip and crop as views", dm_pix_flip_and_crop, "dm-pix"),
        Case.of("albumentations: a pipeline as a view", albumentations_pipeline, "albumentations"),
        Case.of("PyTorch: a DataLoader in `fit`", torch_loader, "torch"),
        Case.of("Grain: a pipeline in `fit`", grain_pipeline, "grain"),
        Case.of("Python: a generator in `fit`", generator, "numpy"),
        Case.of("Hugging Face datasets: columns", datasets_columns, "datasets"),
        Case.of("Hugging Face datasets: images", datasets_images, "datasets", "pillow"),
    ]
