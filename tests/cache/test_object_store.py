"""Caches in an S3 object store: a real server on the loopback interface."""

import concurrent.futures
import uuid

import numpy as np
import pytest
from conftest import random_images, small_network

from jaxkd import cache as caches
from jaxkd.cache import CacheError, Writer, _store
from jaxkd.targets import TopK
from jaxkd.views import Normalize, RandomCrop, Views

moto_server = pytest.importorskip("moto.server")

VIEWS = Views((RandomCrop(2), Normalize()))
IMAGES, TEACHER = random_images(), small_network(1)
OPTIONS = {"block_size": 64, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def bucket():
    """A server with a bucket, found by the environment as Amazon's own tools find it."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        running.start()
        host, port = running.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_REGION", "us-east-1")
        # The server does not look at them, but clients want some.
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="caches")
        yield "caches"
        running.stop()


@pytest.fixture
def url(bucket):
    """Somewhere in the bucket, where there is nothing."""
    return f"s3://{bucket}/{uuid.uuid4().hex}"


def assert_equal(cache, local, views=2):
    np.testing.assert_array_equal(cache.ids, local.ids)
    for view in range(views):
        one, two = (c.read(cache.ids[::-1], view).decode()["logits"] for c in (cache, local))
        np.testing.assert_array_equal(one.indices, two.indices)
        np.testing.assert_allclose(one.logits, two.logits, atol=2e-3)


def test_a_cache_is_built_grown_and_read_there(url, tmp_path):
    part = IMAGES.select(IMAGES.ids[:100])
    caches.build(url, TEACHER, part, VIEWS, codec=TopK(3), num_views=2, **OPTIONS)
    grown = caches.extend(url, TEACHER, IMAGES, VIEWS, **OPTIONS)
    local = caches.build(tmp_path, TEACHER, IMAGES, VIEWS, codec=TopK(3), num_views=2, **OPTIONS)
    assert_equal(grown, local)
    opened = caches.open(url, teacher=TEACHER, dataset=IMAGES, views=VIEWS, memory_limit=0)
    assert_equal(opened, local)
    assert caches.verify(url) == []
    with pytest.raises(CacheError, match="teacher.parameters"):
        caches.open(url, teacher=small_network(2), dataset=IMAGES, views=VIEWS)


def test_a_cut_is_taken_up_and_damage_is_found_there(url):
    def writer():
        return Writer(url, {"name": "x"}, IMAGES, shapes={"logits": (5,)}, block_size=64)

    logits = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    first = writer()
    first.write(IMAGES.ids[:90], 0, logits[:90])
    assert not first.close()
    second = writer()
    assert second.remaining() == 110
    second.write(IMAGES.ids[90:], 0, logits[90:])
    assert second.close()
    np.testing.assert_array_equal(second.cache().read(IMAGES.ids, 0).decode()["logits"], logits)
    assert not [name for name in _store.names(url, "segments/") if "/partial/" in name]

    (name,) = [n for n in _store.names(url, "segments/") if n.endswith("c/0/1/0")]
    data = bytearray(_store.read_bytes(url, name) or b"")
    data[5] ^= 1
    _store.write_bytes(url, name, bytes(data))
    (damage,) = caches.verify(url)
    assert (damage.view, damage.block) == (0, 1) and "c/0/1/0" in damage.message


def test_of_many_writers_of_a_document_one_creates_it_and_none_loses_a_change(url):
    def create(number):
        return _store.create_document(url, "a.json", {"number": number})

    def add(number):
        while True:
            there, version = _store.read_versioned_document(url, "b.json")
            numbers = [*(there or {"numbers": []})["numbers"], number]
            if _store.replace_document(url, "b.json", {"numbers": numbers}, version):
                return

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(create, range(6))) == 1
        list(pool.map(add, range(6)))
    found = _store.read_document(url, "b.json")
    assert sorted(found["numbers"]) == list(range(6))


def test_caches_move_between_stores(url, tmp_path):
    for name, ids in {"a": IMAGES.ids[:90], "b": IMAGES.ids[90:]}.items():
        data = IMAGES.select(ids)
        caches.build(tmp_path / name, TEACHER, data, VIEWS, codec=TopK(3), **OPTIONS)
    merged = caches.merge(url, [tmp_path / "a", tmp_path / "b"])
    back = caches.subset(url, tmp_path / "c")
    assert len(back.ids) == 200
    assert_equal(merged, back, views=1)
