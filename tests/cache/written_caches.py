"""Small caches of random logits, written without a network: for tests of what lies on disk."""

import numpy as np
from conftest import random_images

from jaxkd.cache import Cache, Writer
from jaxkd.targets import Dense

IMAGES = random_images()
LOGITS = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)


def writer(path, teacher="one", data=IMAGES, **options) -> Writer:
    """A writer of blocks of 64 examples."""
    options = {"shapes": {"logits": (5,)}, "block_size": 64, "codec": Dense()} | options
    return Writer(path, {"name": teacher}, data, **options)


def fill(one: Writer, seed: int = 0) -> Cache:
    """Writes everything that is missing; view v is rolled by v examples."""
    with one:
        for ids, view in one.missing(64):
            one.write(ids, view, seed + np.roll(LOGITS, view, axis=0)[IMAGES.rows(ids)])
    return one.cache()


def write(path, teacher="one", seed=0, **options) -> Cache:
    """A complete cache."""
    return fill(writer(path, teacher, **options), seed)


def assert_written(cache: Cache, num_views: int = 1, seed: int = 0) -> None:
    """Compares every record with what was written."""
    for view in range(num_views):
        wanted = seed + np.roll(LOGITS, view, axis=0)[IMAGES.rows(cache.ids)]
        np.testing.assert_array_equal(cache.read(cache.ids, view).decode()["logits"], wanted)
