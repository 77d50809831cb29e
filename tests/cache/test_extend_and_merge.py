import dataclasses
import json

import numpy as np
import pytest
from conftest import random_images, small_network
from written_caches import write

from jaxkd import cache as caches
from jaxkd.cache import CacheError, EnsembleCache
from jaxkd.data import Loader
from jaxkd.targets import Dense, TopK
from jaxkd.views import Mixup, Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(2), Normalize()))
IMAGES, TEACHER = random_images(), small_network(1)
OPTIONS = {"block_size": 64, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All 200 examples in three views, built at once."""
    return caches.build(
        tmp_path_factory.mktemp("w"), TEACHER, IMAGES, VIEWS, num_views=3, **OPTIONS
    )


def part(path, ids, num_views=2, **options):
    data = IMAGES.select(ids)
    return caches.build(path, TEACHER, data, VIEWS, num_views=num_views, **OPTIONS | options)


def assert_same(cache, whole, ids, num_views):
    np.testing.assert_array_equal(cache.ids, ids)
    assert cache.num_views == num_views
    for view in range(num_views):
        a, b = (c.read(ids[::-1], view).decode()["logits"] for c in (cache, whole))
        np.testing.assert_allclose(a, b, atol=1e-6)


def contents(path):
    return {f: f.read_bytes() for f in path.rglob("*") if f.is_file() and "effort" not in f.parts}


def test_views_and_examples_are_added_and_nothing_is_rewritten(tmp_path, whole):
    part(tmp_path, IMAGES.ids[::2])
    before = contents(tmp_path)
    grown = caches.extend(tmp_path, TEACHER, IMAGES, VIEWS, num_views=3, **OPTIONS)
    assert_same(grown, whole, IMAGES.ids, 3)
    after = contents(tmp_path)
    # The list of segments alone is another one: it has grown at its end.
    (listed, then) = (json.loads(c.pop(tmp_path / "segments.json")) for c in (after, before))
    assert listed["segments"][:1] == then["segments"] and len(listed["segments"]) == 3
    assert {f: after[f] for f in before} == before
    assert grown.build_cost["records"] == 600
    # Once more: there is nothing left to do.
    caches.extend(tmp_path, TEACHER, IMAGES, VIEWS, num_views=3, **OPTIONS)
    assert caches.Cache(tmp_path).build_cost["records"] == 600


@dataclasses.dataclass(frozen=True)
class OwnCodec(Dense):
    """A codec that is not part of the package."""

    def specification(self):
        return super().specification() | {"name": "OwnCodec"}


def test_a_cache_of_ones_own_codec_is_extended(tmp_path):
    part(tmp_path, IMAGES.ids[:20], num_views=1, codec=OwnCodec())
    few = IMAGES.select(IMAGES.ids[:30])
    with pytest.raises(ValueError, match="num_views must be .*0"):
        caches.extend(tmp_path, TEACHER, few, VIEWS, num_views=0, codecs=(OwnCodec,), **OPTIONS)
    grown = caches.extend(tmp_path, TEACHER, few, VIEWS, codecs=(OwnCodec,), **OPTIONS)
    assert len(grown.ids) == 30 and grown.num_views == 1


def test_an_addition_that_is_not_complete_leaves_the_cache_as_it_was(tmp_path, whole):
    part(tmp_path, IMAGES.ids[:100])
    writer = caches.Writer(
        tmp_path, TEACHER, IMAGES, VIEWS, shapes={"logits": (5,)}, num_views=3, extend=True
    )
    ids, view = next(writer.missing(10))
    writer.write(ids, view, np.asarray(whole.read(ids, view).decode()["logits"]))
    assert not writer.close()
    with pytest.warns(UserWarning, match="not complete: 0 of 4 blocks.*read as it was before"):
        cache = caches.Cache(tmp_path)
    assert_same(cache, whole, IMAGES.ids[:100], 2)
    # The ten records were saved and are not computed again.
    with pytest.warns(UserWarning):
        grown = caches.extend(tmp_path, TEACHER, IMAGES, VIEWS, num_views=3, **OPTIONS)
    assert_same(grown, whole, IMAGES.ids, 3)
    assert grown.build_cost["records"] == 600 and not list(tmp_path.rglob("partial/*/*/*"))


def test_what_cannot_be_added_is_refused(tmp_path):
    part(tmp_path, IMAGES.ids[:100])
    options = OPTIONS | {"num_views": 3}
    with pytest.raises(CacheError, match="50 examples .* not in this data set.*all examples"):
        caches.extend(tmp_path, TEACHER, IMAGES.select(IMAGES.ids[50:150]), VIEWS, **options)
    with pytest.raises(CacheError, match="has 2 views .* to 1 would take some away"):
        caches.extend(tmp_path, TEACHER, IMAGES, VIEWS, **OPTIONS | {"num_views": 1})
    with pytest.raises(CacheError, match="teacher.parameters"):
        caches.extend(tmp_path, small_network(2), IMAGES, VIEWS, **options)
    with pytest.raises(CacheError, match="num_views: the cache has 2, this run has 3.*\n.*extend"):
        part(tmp_path, IMAGES.ids[:100], num_views=3)
    with pytest.raises(CacheError, match="there is no cache"):
        caches.extend(tmp_path / "nothing", TEACHER, IMAGES, VIEWS, **OPTIONS)


def test_parts_are_merged(tmp_path, whole):
    part(tmp_path / "a", IMAGES.ids[1::2])
    part(tmp_path / "b", IMAGES.ids[::2])
    merged = caches.merge(tmp_path / "m", [tmp_path / "a", tmp_path / "b"])
    assert_same(merged, whole, IMAGES.ids, 2)
    merged.check(teacher=TEACHER, dataset=IMAGES, views=VIEWS)
    assert caches.verify(tmp_path / "m") == []
    # A merge that was cut goes on; the segment without a seal was not taken for complete.
    next((tmp_path / "m").rglob("seal.json")).unlink()
    assert_same(caches.merge(merged.path, [tmp_path / "a", tmp_path / "b"]), whole, IMAGES.ids, 2)


def test_names_of_classes_are_those_of_any_part(tmp_path):
    names = tuple("abcde")
    for path, ids, known in (
        ("a", IMAGES.ids[:60], ()),
        ("b", IMAGES.ids[60:120], names),
        ("c", IMAGES.ids[120:], names[::-1]),
    ):
        write(tmp_path / path, data=dataclasses.replace(IMAGES, class_names=known).select(ids))
    merged = caches.merge(tmp_path / "m", [tmp_path / "a", tmp_path / "b"])
    assert merged.contract["dataset.class_names"] == list(names)
    assert caches.merge(merged.path, [tmp_path / "a", tmp_path / "b"]).document == merged.document
    with pytest.raises(CacheError, match="dataset.class_names"):
        caches.merge(tmp_path / "n", [tmp_path / path for path in "abc"])


def test_what_a_killed_copy_left_of_its_identity_is_deleted(tmp_path):
    source = write(tmp_path / "a").path
    for target, copy in (
        ("merged", lambda path: caches.merge(path, [source])),
        ("part", lambda path: caches.subset(source, path, ids=IMAGES.ids[:9])),
    ):
        left = tmp_path / target / "identity" / ("f" * 32) / "views.json"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"{}")
        assert caches.verify(copy(tmp_path / target).path) == []


def test_parts_that_do_not_fit_are_not_merged(tmp_path):
    part(tmp_path / "a", IMAGES.ids[:60])
    part(tmp_path / "b", IMAGES.ids[50:], num_views=2)
    part(tmp_path / "c", IMAGES.ids[60:], num_views=1)
    part(tmp_path / "d", IMAGES.ids[60:], codec=Dense("float16"))
    with pytest.raises(CacheError, match="10 examples of view 0 twice, ids .153, 156"):
        caches.merge(tmp_path / "m", [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(CacheError, match="as many views of each example.*200 examples in view 0"):
        caches.merge(tmp_path / "m", [tmp_path / "a", tmp_path / "c"])
    with pytest.raises(CacheError, match="codec: the cache has .*float32.* has .*float16"):
        caches.merge(tmp_path / "m", [tmp_path / "a", tmp_path / "d"])
    with pytest.raises(ValueError, match="nothing to merge"):
        caches.merge(tmp_path / "m", [])


def test_a_merge_writes_nothing_where_its_target_has_other_records(tmp_path):
    a, b, m = (tmp_path / name for name in "abm")
    part(a, IMAGES.ids[1::2], num_views=1)
    part(b, IMAGES.ids[::2], num_views=1)
    caches.merge(m, [a, b])
    before = contents(tmp_path)
    with pytest.raises(CacheError, match="is a source too: choose another path"):
        caches.merge(a, [a, b])
    with pytest.raises(CacheError, match="already holds other records"):
        caches.merge(m, [a])
    with pytest.raises(ValueError, match="named more than once"):
        caches.merge(tmp_path / "n", [a, a.parent / "b" / ".." / "a"])
    with pytest.raises(TypeError, match=r"write merge\(target, \['"):
        caches.merge(tmp_path / "n", str(a))
    caches.subset(a, tmp_path / "copy")
    with pytest.raises(CacheError, match="100 examples of view 0 twice"):
        caches.merge(tmp_path / "n", [a, tmp_path / "copy"])
    assert {f: c for f, c in contents(tmp_path).items() if f in before} == before
    assert not (tmp_path / "n").exists()


def test_a_subset_writes_nothing_where_its_target_has_other_records(tmp_path, whole):
    source, target = tmp_path / "s", tmp_path / "t"
    caches.subset(whole.path, source, num_views=1, block_size=64)
    caches.subset(source, target, ids=IMAGES.ids[:50])
    before = contents(tmp_path)
    for ids in (None, IMAGES.ids[:3]):
        with pytest.raises(CacheError, match="is a source too: choose another path"):
            caches.subset(source, tmp_path / "t" / ".." / "s", ids=ids)
    for ids in (IMAGES.ids[:60], IMAGES.ids[:3], IMAGES.ids[100:]):
        with pytest.raises(CacheError, match="already holds other records.*another path"):
            caches.subset(source, target, ids=ids)
    assert contents(tmp_path) == before
    # The identical call finishes what a kill has left of it, and repeats what is complete.
    next(target.rglob("seal.json")).unlink()
    for _ in range(2):
        assert_same(caches.subset(source, target, ids=IMAGES.ids[:50]), whole, IMAGES.ids[:50], 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ids": [3.5]}, TypeError, "ids must be integers, got dtype float64"),
        ({"ids": IMAGES.ids > 500}, TypeError, r"write dataset.ids\[mask\]"),
        ({"ids": IMAGES.ids[:2].astype(int) + 2**32}, CacheError, "2 of 2 example ids are not in"),
        ({"num_views": 1.5}, TypeError, "num_views must be an integer, not 1.5"),
        ({"block_size": 0}, ValueError, "block_size must be at least 1, not 0"),
    ],
)
def test_a_subset_that_there_is_not(tmp_path, whole, options, error, message):
    with pytest.raises(error, match=message):
        caches.subset(whole.path, tmp_path / "t", **options)
    assert not (tmp_path / "t").exists()


def test_a_part_is_taken(tmp_path, whole):
    ids = IMAGES.ids[[3, 100, 7]]
    taken = caches.subset(whole.path, tmp_path, ids=ids, num_views=2)
    assert_same(taken, whole, np.sort(ids), 2)
    taken.check(teacher=TEACHER, dataset=IMAGES.select(ids), views=VIEWS)
    with pytest.raises(CacheError, match="1 of 1 example ids are not in the cache"):
        caches.subset(whole.path, tmp_path / "other", ids=[1])
    with pytest.raises(CacheError, match="4 views of each example are wanted"):
        caches.subset(whole.path, tmp_path / "other", num_views=4)
    with pytest.raises(ValueError, match="would be empty"):
        caches.subset(whole.path, tmp_path / "other", ids=[])


def test_views_that_mix_pin_the_examples(tmp_path):
    views = Views((Normalize(), Mixup(5)))
    caches.build(tmp_path, TEACHER, IMAGES.select(IMAGES.ids[:100]), views, **OPTIONS)
    with pytest.raises(CacheError, match="views.partners"):
        caches.extend(tmp_path, TEACHER, IMAGES, views, **OPTIONS)


def test_teachers_are_joined_by_id(tmp_path, whole):
    other = caches.build(tmp_path / "o", small_network(2), IMAGES, VIEWS, num_views=2, **OPTIONS)
    ids = IMAGES.ids[[5, 2, 150]]
    a, b = (np.asarray(c.read(ids, 1).decode()["logits"], np.float64) for c in (whole, other))
    joined = EnsembleCache({"a": whole, "b": other}, weights={"a": 3, "b": 1})
    outputs = Loader(IMAGES, VIEWS, 8, cache=joined)[0]["teacher"].decode()
    assert set(outputs) == {"a.logits", "b.logits", "logits"} and joined.num_views == 2

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    found = np.exp(np.asarray(joined.read(ids, 1).decode()["logits"], np.float64))
    np.testing.assert_allclose(found, 0.75 * softmax(a) + 0.25 * softmax(b), rtol=1e-5)
    mean = EnsembleCache({"a": whole, "b": other}, combine="logits").read(ids, 1).decode()["logits"]
    np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5, atol=1e-6)


def test_teachers_that_cannot_be_joined(tmp_path, whole):
    sparse = caches.build(tmp_path, TEACHER, IMAGES, VIEWS, codec=TopK(2), **OPTIONS)
    with pytest.raises(ValueError, match="b stores TopK.*no mean: combine=None"):
        EnsembleCache({"a": whole, "b": sparse})
    assert "b.logits" in EnsembleCache({"b": sparse}, combine=None).read(sparse.ids[:2], 0).decode()
    with pytest.raises(ValueError, match="weights must be positive"):
        EnsembleCache({"a": whole}, weights={"a": 0})
    with pytest.raises(ValueError, match="combine must be one of"):
        EnsembleCache({"a": whole}, combine="median")
    with pytest.raises(CacheError, match="dataset.split"):
        EnsembleCache({"a": whole}).check(dataset=IMAGES.with_split("test"), views=VIEWS)
