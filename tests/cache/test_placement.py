"""Files of records are what they should be: bound to their cache, segment, array and block."""

import json
import shutil

import numpy as np
import pytest
from written_caches import IMAGES, LOGITS, assert_written, fill, write, writer

from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError, _store
from jaxkd.cache._segment import Segment
from jaxkd.cache._shard import ShardTag, tag_in, with_tag
from jaxkd.targets import Dense, TopK


def shard(path, view, block, array="logits.values"):
    (found,) = path.glob(f"segments/*/records/{array}/c/{view}/{block}/0")
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two caches of one contract and shape, of other numbers."""
    paths = [tmp_path_factory.mktemp(name) for name in ("a", "b")]
    for seed, path in enumerate(paths):
        write(path, num_views=2, seed=seed)
    return paths


def copy(two, tmp_path):
    return [shutil.copytree(path, tmp_path / str(i)) for i, path in enumerate(two)]


@pytest.mark.parametrize("codec", [Dense(), TopK(3), Dense("int8")], ids=str)
def test_a_shard_is_what_zarr_writes_with_a_line_before_the_index(tmp_path, codec):
    """Other readers of Zarr find the chunks where the index says; compressed ones too."""
    write(tmp_path, codec=codec)
    (segment,) = Cache(tmp_path).segments
    plain = Segment(
        str(tmp_path / "plain"), segment.layout, segment.compression, segment.ids, 0, 1, 64
    )
    plain.create_arrays()
    assert segment.layout
    for name, array in segment.arrays.items():
        plain.arrays[name].write(array.read().result()).result()
        for block in segment.all_blocks:
            whole, bare = (
                (tmp_path / part / s.shard(name, block)).read_bytes()
                for part, s in (("", segment), ("plain", plain))
            )
            tag, index = segment.tag(name, block), segment.index_bytes(name)
            assert whole == bare[:-index] + tag.to_bytes() + bare[-index:]
            assert tag_in(whole) == tag
            assert with_tag(bare, tag, index) == with_tag(whole, tag, index) == whole


def test_a_tag_says_where_a_file_belongs():
    tag = ShardTag("c" * 32, "views0-0_x", "logits.values", 3, 7)
    assert tag_in(b"\0\njaxkd {}\n" + tag.to_bytes() + b"\0") == tag
    assert str(tag).startswith("block 7 of view 3 of the array 'logits.values' in the segment")
    assert tag_in(tag.to_bytes().replace(b"7", b"8")) is None


PLACES = {
    "another block": lambda one, other: (shard(one, 0, 2), shard(one, 0, 1)),
    "another view": lambda one, other: (shard(one, 1, 1), shard(one, 0, 1)),
    "another cache": lambda one, other: (shard(other, 0, 1), shard(one, 0, 1)),
}


@pytest.mark.parametrize("memory_limit", [0, 1 << 30])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_from_elsewhere_is_found_by_reading_and_by_verify(
    two, tmp_path, place, memory_limit
):
    one, other = copy(two, tmp_path)
    source, target = PLACES[place](one, other)
    shutil.copy(source, target)
    cache = Cache(one, memory_limit=memory_limit)
    message = r"the file .*c/0/1/0 is block . of view . of the array 'logits.values' in .*belongs"
    for _ in range(2):  # the second time it has been read already
        with pytest.raises(CacheError, match=message):
            cache.read(IMAGES.ids[64:65], 0)
    (damage,) = caches.verify(one)
    assert (damage.view, damage.block) == (0, 1)
    with pytest.warns(UserWarning, match="where block 1 of view 0"):
        fill(writer(one, num_views=2))
    assert_written(Cache(one), 2)
    assert caches.verify(one) == []


def test_swapped_arrays_are_found(tmp_path):
    codec, shapes = {"logits": Dense(), "more": Dense()}, {"logits": (5,), "more": (5,)}
    with writer(tmp_path, codec=codec, shapes=shapes) as both:
        both.write(IMAGES.ids, 0, {"logits": LOGITS, "more": LOGITS + 1})
    one, other = (shard(tmp_path, 0, 1, f"{name}.values") for name in ("logits", "more"))
    whole = one.read_bytes()
    shutil.copy(other, one)
    other.write_bytes(whole)
    assert [(d.array, d.block) for d in caches.verify(tmp_path)] == [
        ("logits.values", 1),
        ("more.values", 1),
    ]
    with pytest.raises(CacheError, match="array 'more.values' in the segment"):
        Cache(tmp_path).read(IMAGES.ids, 0)


def test_a_file_that_says_nothing_is_found_and_never_taken(two, tmp_path):
    one, _ = copy(two, tmp_path)
    file = shard(one, 0, 1)
    whole = file.read_bytes()
    tag = tag_in(whole).to_bytes()
    for damaged in (whole.replace(tag, b""), whole.replace(b"jaxkd", b"jaxkk"), whole[:9], b""):
        file.write_bytes(damaged)
        with pytest.raises(CacheError, match=r"'logits.values'.*c/0/1/0.*build again"):
            Cache(one).read(IMAGES.ids, 0)
        with pytest.raises(CacheError, match="does not say in whole which block it is"):
            writer(one, num_views=2)
    file.unlink()
    fill(writer(one, num_views=2))
    assert file.read_bytes() == whole


def test_partial_blocks_are_bound_too(tmp_path):
    for name in ("a", "b"):
        partly = writer(tmp_path / name)
        partly.write(IMAGES.ids[:10], 0, LOGITS[:10])
        assert not partly.close()
    a, b = (next((tmp_path / name).rglob("partial/0/0/*.npz")) for name in ("a", "b"))
    whole = a.read_bytes()
    shutil.copy(b, a)
    with pytest.raises(CacheError, match=r"partial/0/0/writer0.npz is block 0 .*Delete it"):
        writer(tmp_path / "a")
    a.write_bytes(whole)
    (a.parents[1] / "1").mkdir()
    moved = a.rename(a.parents[1] / "1" / a.name)
    with pytest.raises(CacheError, match="where block 1 of view 0"):
        writer(tmp_path / "a")
    moved.unlink()
    assert_written(fill(writer(tmp_path / "a")))


def test_documents_of_another_segment_or_cache_are_refused(two, tmp_path):
    one, other = copy(two, tmp_path)
    (name,) = (f.name for f in (one / "segments").iterdir())
    for file, message in (
        (f"segments/{name}/seal.json", "seal.json belongs to the segment .* of the cache"),
        ("segments.json", "segments.json is of the cache"),
        ("contract.json", "segments.json is of the cache"),
    ):
        whole = (one / file).read_bytes()
        shutil.copy(other / file, one / file)
        with pytest.raises(CacheError, match=f"damaged: .*{message}"):
            Cache(one)
        (one / file).write_bytes(whole)
    (one / "segments.json").unlink()
    for call in (Cache, writer):
        with pytest.raises(CacheError, match="damaged: segments.json is missing"):
            call(one)


def test_entries_of_documents_are_checked_by_name(tmp_path):
    write(tmp_path)
    (entry,) = _store.read_document(tmp_path, "segments.json")["segments"]
    for name, change, message in (
        ("segments.json", {"segments": [{"name": "x"}]}, "segments.json has other entries than"),
        ("segments.json", {"segments": 7}, "segments.json has other entries than"),
        ("segments.json", {"segments": [entry | {"content": 7}]}, "segments.json has other"),
        ("segments.json", {"segments": [entry | {"num_views": "2"}]}, "segments.json has other"),
        ("seal", {"arrays": None}, "its entry 'arrays' is None"),
    ):
        file = next(tmp_path.rglob(f"{name.removesuffix('.json')}.json")).relative_to(tmp_path)
        document = _store.read_document(tmp_path, str(file))
        _store.write_document(tmp_path, str(file), document | change)
        with pytest.raises(CacheError, match=message):
            Cache(tmp_path)
        _store.write_document(tmp_path, str(file), document)
    assert_written(Cache(tmp_path))


def test_ids_that_are_damaged_are_written_anew_by_a_build(tmp_path):
    write(tmp_path, data=IMAGES.select(IMAGES.ids[:70]))
    fill(writer(tmp_path, extend=True, num_views=2))
    for file in sorted(tmp_path.rglob("ids")):
        whole = file.read_bytes()
        for damaged in (whole[:-4], whole[:-3], whole.replace(whole[4:8], b"\0\0\0\1"), None):
            file.unlink() if damaged is None else file.write_bytes(damaged)
            with pytest.raises(CacheError, match=r"/ids should name .*build again"):
                Cache(tmp_path)
            assert_written(fill(writer(tmp_path, num_views=2)), 2)
            assert file.read_bytes() == whole


def test_a_merge_takes_nothing_from_elsewhere(tmp_path, two):
    for name, ids in {"a": IMAGES.ids[:128], "b": IMAGES.ids[128:]}.items():
        write(tmp_path / name, data=IMAGES.select(ids))
    sources = [tmp_path / "a", tmp_path / "b"]
    merged = caches.merge(tmp_path / "c", sources)
    assert_written(merged)
    assert merged.document["id"] not in [Cache(s).document["id"] for s in sources]
    # Files of the sources do not belong to the copy, neither before nor after it is sealed.
    foreign = next((tmp_path / "a").rglob("c/0/1/0")).relative_to(tmp_path / "a")
    shutil.copy(tmp_path / "a" / foreign, tmp_path / "c" / foreign)
    with pytest.raises(CacheError, match="is block 1 of view 0"):
        Cache(tmp_path / "c").read(IMAGES.ids, 0)
    assert_written(caches.merge(tmp_path / "c", sources))
    # Nor does a source give what is not its own.
    zero = next((tmp_path / "a").rglob("c/0/0/0"))
    shutil.copy(zero, tmp_path / "a" / foreign)
    with pytest.raises(CacheError, match="is block 0 of view 0"):
        caches.merge(tmp_path / "d", sources)


def test_a_merge_lets_a_named_field_differ(tmp_path):
    for name, ids in {"a": IMAGES.ids[:128], "b": IMAGES.ids[128:]}.items():
        write(tmp_path / name, name, data=IMAGES.select(ids))
    sources = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(CacheError, match="teacher.name"):
        caches.merge(tmp_path / "c", sources)
    merged = caches.merge(tmp_path / "c", sources, allow={"teacher.name"})
    assert merged.contract["teacher.name"] == "a"
    assert_written(merged)


def test_what_describes_a_segment_lies_in_the_list(tmp_path):
    write(tmp_path, num_views=2)
    listed = json.loads((tmp_path / "segments.json").read_text(encoding="utf-8"))
    (entry,) = listed["segments"]
    assert (entry["first_view"], entry["num_views"], entry["block_size"]) == (0, 2, 64)
    assert entry["examples"].startswith("200 examples, sha256:")
    assert set(entry["written_by"]) == {"jax", "numpy", "tensorstore"}
    ids = next(tmp_path.rglob("ids")).read_bytes()
    np.testing.assert_array_equal(np.frombuffer(ids, "<i4"), IMAGES.ids)
