import grain
import jax
import numpy as np
import pytest

from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.data import GrainSource
from jaxkd.targets import TopK
from jaxkd.views import Mixup, Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(2), Normalize(), Mixup(5)))


@pytest.fixture
def cache(tmp_path, images, small):
    return caches.build(
        tmp_path, small(1), images, VIEWS, codec=TopK(3), num_views=2, progress=False
    )


def test_grain_batches_carry_the_outputs_for_their_views(images, cache, small):
    source = GrainSource(images, VIEWS, cache=cache)
    assert len(source) == 400
    dataset = grain.MapDataset.source(source).shuffle(seed=3).batch(32)
    teacher = small(1)
    for batch in (dataset[0], dataset[5]):
        assert {0, 1} == set(batch["view"])
        cached = batch.pop("teacher").decode()["logits"]
        logits = np.asarray(teacher(VIEWS.render(batch)["inputs"])["logits"])
        top = np.take_along_axis(logits, np.asarray(cached.indices), -1)
        np.testing.assert_allclose(top - top[:, :1], cached.logits, atol=5e-3)
    # Batches from Grain and records by id are the same.
    batch = dataset[7]
    for view in (0, 1):
        rows = batch["view"] == view
        record = cache.read(batch["id"][rows], view)
        for one, two in zip(
            jax.tree.leaves(batch["teacher"]), jax.tree.leaves(record), strict=True
        ):
            np.testing.assert_array_equal(one[rows], two)


def test_one_element_equals_many(images, cache):
    source = GrainSource(images, VIEWS, cache=cache)
    many = source.__getitems__([5, 399, 0])
    for index, element in zip([5, 399, 0], many, strict=True):
        jax.tree.map(np.testing.assert_array_equal, source[index], element)
    assert many[1]["view"] == 1 and many[1]["id"] == images.ids[199]


def test_what_does_not_fit_is_refused(images, cache):
    with pytest.raises(CacheError, match="views.seed"):
        GrainSource(images, Views(VIEWS.transforms, seed=1), cache=cache)
    with pytest.raises(CacheError, match="3 views"):
        GrainSource(images, VIEWS, cache=cache, num_views=3)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        GrainSource(images, num_views=0)
    with pytest.raises(IndexError, match=r"\[0, 200\)"):
        GrainSource(images)[200]
