"""What an opened cache brings along: its data set and views, and a contract that is read once."""

import jax
import numpy as np
import pytest
from conftest import random_images, small_network

from jaxkd import cache as caches
from jaxkd.cache import CacheError, EnsembleCache, _store
from jaxkd.data import Dataset, GrainSource, Loader
from jaxkd.targets import Dense
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(2), Normalize()))
IMAGES, TEACHER = random_images(), small_network(1)
OPTIONS = {"block_size": 64, "batch_size": 32, "progress": False}
MORE = Dataset.from_arrays(
    np.concatenate([IMAGES.inputs, IMAGES.inputs[:1]]),
    ids=np.append(IMAGES.ids, 0),
    name="random",
    split="train",
    num_classes=5,
)
OWN = {"teacher": TEACHER, "dataset": IMAGES, "views": VIEWS}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return caches.build(
        tmp_path_factory.mktemp("c"), TEACHER, IMAGES, VIEWS, num_views=2, **OPTIONS
    )


def same(one, other):
    for step in (0, 5, 11):
        jax.tree.map(np.testing.assert_array_equal, one[step], other[step])


def test_a_loader_takes_data_set_and_views_from_its_cache(built, tmp_path):
    loader = Loader(IMAGES, VIEWS, 32, seed=3, cache=built)
    opened = caches.open(built.path, **OWN)
    for cache in (built, opened):
        assert cache.dataset is IMAGES and cache.views is VIEWS
        same(Loader(cache=cache, batch_size=32, seed=3), loader)
    with caches.open(tmp_path, **OWN, mode="fill", num_views=2) as writing:
        batch = Loader(cache=writing, batch_size=32, seed=3)[5]
    jax.tree.map(np.testing.assert_array_equal, batch["inputs"], loader[5]["inputs"])
    ensemble = Loader(cache=EnsembleCache({"a": built, "b": opened}), batch_size=32, seed=3)
    np.testing.assert_array_equal(ensemble[5]["inputs"], loader[5]["inputs"])
    element, wanted = GrainSource(cache=built)[300], GrainSource(IMAGES, VIEWS, cache=built)[300]
    jax.tree.map(np.testing.assert_array_equal, element, wanted)


def test_a_selection_goes_with_the_views_of_the_cache(built):
    part = IMAGES.select(IMAGES.ids[:100])
    same(Loader(part, None, 32, cache=built), Loader(part, VIEWS, 32, cache=built))


def test_what_the_cache_does_not_belong_to_is_refused(built):
    with pytest.raises(CacheError, match="views.seed"):
        Loader(None, Views(VIEWS.transforms, seed=1), 32, cache=built)
    with pytest.raises(CacheError, match="dataset.split"):
        Loader(IMAGES.with_split("test"), batch_size=32, cache=built)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_views": 3}, "jaxkd.cache.extend(path, teacher, dataset, views, num_views=3)"),
        ({"num_views": 1}, "jaxkd.cache.open(path, teacher=teacher, dataset=dataset"),
        ({"dataset": MORE, "num_views": 2}, "jaxkd.cache.extend(path, teacher, dataset, views)"),
    ],
)
def test_a_build_of_another_extent_is_refused_with_what_to_write(built, options, line):
    arguments = {"teacher": TEACHER, "dataset": IMAGES, "views": VIEWS} | options
    with pytest.raises(CacheError) as refused:
        caches.build(built.path, **arguments, **OPTIONS)
    assert line in str(refused.value)


def test_names_to_allow_are_several(built, tmp_path):
    message = "must be a set of names, not the text 'jax_version': allow={'jax_version'}"
    for refused in (
        lambda: caches.open(built.path, **OWN, allow="jax_version"),
        lambda: caches.build(tmp_path, **OWN, **OPTIONS, allow="jax_version"),
        lambda: caches.merge(tmp_path, [built.path], allow="jax_version"),
        lambda: built.check(allow="jax_version"),
    ):
        with pytest.raises(TypeError, match=message):
            refused()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_views": 5}, "num_views would be ignored, mode is 'read': write mode='fill'"),
        ({"codec": Dense(), "block_size": 8}, "codec and block_size would be ignored"),
        ({"num_classes": 5, "mode": "fill"}, "num_classes would be ignored.*write mode='read'"),
        ({"codecs": [Dense], "mode": "fill"}, "codecs would be ignored"),
    ],
)
def test_arguments_of_the_other_mode_are_refused(built, options, message):
    with pytest.raises(ValueError, match=message):
        caches.open(built.path, **OWN, **options)


@pytest.mark.parametrize("memory_limit", [1 << 20, 0])
def test_ids_and_views_that_are_no_integers_are_refused(built, memory_limit):
    cache = caches.Cache(built.path, memory_limit=memory_limit)
    for ids in (IMAGES.ids + 0.5, IMAGES.ids > 500):
        for call in (cache.rows, lambda ids: cache.read(ids, 0)):
            with pytest.raises(TypeError, match="ids must be integers, got dtype"):
                call(ids)
    with pytest.raises(TypeError, match="view must be an integer, not 0.5"):
        cache.read(IMAGES.ids, 0.5)
    with pytest.raises(CacheError, match="1 of 1 example ids are not in"):
        cache.read(IMAGES.ids[:1].astype(int) + 2**32, 0)


def test_what_is_missing_is_named(built):
    with pytest.raises(ValueError, match="the data set is missing"):
        Loader(batch_size=32, cache=caches.Cache(built.path))
    with pytest.raises(ValueError, match="the data set is missing"):
        GrainSource()
    with pytest.raises(TypeError, match="batch_size is missing"):
        Loader(cache=built)


def test_an_allowed_difference_stays_allowed_in_what_build_returns(tmp_path):
    caches.build(tmp_path, TEACHER, IMAGES, VIEWS, **OPTIONS)
    renamed = IMAGES.with_split("test")
    again = caches.build(tmp_path, TEACHER, renamed, VIEWS, allow={"dataset.split"}, **OPTIONS)
    assert len(Loader(cache=again, batch_size=32)[0]["id"]) == 32


def test_the_contract_is_read_once(tmp_path, monkeypatch):
    reads = []

    def counted(path, name, read=_store.read_document):
        reads.append(name)
        return read(path, name)

    monkeypatch.setattr(_store, "read_document", counted)
    part = IMAGES.select(IMAGES.ids[:100])
    for call, times in (
        # Again after it was created, since another builder may have been faster, and at the end
        # of whatever writes, since another cache may have taken the place of this one.
        (lambda: caches.build(tmp_path, TEACHER, part, VIEWS, **OPTIONS), 3),
        (lambda: caches.build(tmp_path, TEACHER, part, VIEWS, **OPTIONS), 2),
        (lambda: caches.extend(tmp_path, TEACHER, IMAGES, VIEWS, **OPTIONS), 2),
        (lambda: caches.open(tmp_path, **OWN), 1),
        (lambda: caches.open(tmp_path, **OWN, mode="fill").close(), 2),
    ):
        reads.clear()
        call()
        assert reads.count("contract.json") == times
