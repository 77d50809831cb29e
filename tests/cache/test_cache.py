import numpy as np
import pytest

from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

VIEWS = Views((RandomCrop(2), RandomFlip(), Normalize()))


def build(path, teacher, data, views=VIEWS, **options):
    options = {"num_views": 2, "block_size": 64, "batch_size": 32, "progress": False} | options
    return caches.build(path, teacher, data, views, **options)


def test_a_selection_reads_the_cache_of_its_source(tmp_path, images, small):
    cache = build(tmp_path, small(1), images)
    part = images.select(images.ids[::3])
    cache.check(teacher=small(1), dataset=part, views=VIEWS)
    cache.check(dataset=images.select(images.ids[50:60]), views=VIEWS)


def test_a_flipped_byte_is_found_when_its_record_is_read(tmp_path, images, small):
    build(tmp_path, small(1), images)
    file = next(tmp_path.rglob("records/*/c/1/0/0"))
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    cache = caches.Cache(tmp_path)
    cache.read(images.ids, 0)
    with pytest.raises(
        CacheError, match="damaged in the array 'logits.values'.*c/1/0/0.*build again"
    ):
        cache.read(images.ids, 1)
    file.unlink()
    with pytest.raises(CacheError, match="'logits.values'.*missing"):
        cache.read(images.ids, 1)
    np.testing.assert_array_equal(
        build(tmp_path, small(1), images).read(images.ids, 1).decode()["logits"].shape, (200, 5)
    )


def test_flipped_ids_are_found_at_opening(tmp_path, images, small):
    build(tmp_path, small(1), images)
    (file,) = tmp_path.rglob("ids")
    data = bytearray(file.read_bytes())
    data[8] ^= 1
    file.write_bytes(data)
    with pytest.raises(CacheError, match="damaged: .*/ids should name 200 examples"):
        caches.Cache(tmp_path)


def test_reading_from_disk_equals_reading_from_memory(tmp_path, images, small):
    cache = build(tmp_path, small(1), images)
    streamed = caches.Cache(tmp_path, memory_limit=0)
    assert cache.in_memory and not streamed.in_memory
    ids = images.ids[[7, 3, 150, 3]]
    np.testing.assert_array_equal(
        streamed.read(ids, 1).decode()["logits"], cache.read(ids, 1).decode()["logits"]
    )
    for opened in (cache, streamed):
        assert opened.read(np.array([], np.int32), 0).decode()["logits"].shape == (0, 5)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        next(cache.stream(0, batch_size=0))


def test_views_without_the_first_one_are_not_complete(tmp_path, images, small):
    """The segment of view 0 lost its seal, that of an extension did not."""
    build(tmp_path, small(), images)
    first = next(tmp_path.rglob("seal.json"))
    caches.extend(tmp_path, small(), images, VIEWS, num_views=3, progress=False)
    first.unlink()
    for read in (caches.Cache, caches.verify):
        with pytest.warns(UserWarning), pytest.raises(CacheError, match="is not complete"):
            read(tmp_path)
