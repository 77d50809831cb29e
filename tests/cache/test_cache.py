import json
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from elsewhere import reordered

import jaxkd
from jaxkd import cache as caches
from jaxkd import views as view_functions
from jaxkd.cache import CacheError
from jaxkd.data import Dataset
from jaxkd.targets import Dense, TopK, bytes_per_record
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views

VIEWS = Views((RandomCrop(2), RandomFlip(), Normalize()))
ELSEWHERE = str(pathlib.Path(__file__).parents[1] / "elsewhere.py")


def build(path, teacher, data, views=VIEWS, **options):
    options = {"num_views": 2, "block_size": 64, "batch_size": 32, "progress": False} | options
    return caches.build(path, teacher, data, views, **options)


def test_records_are_the_teachers_answers(tmp_path, images, small):
    teacher = small(1)
    cache = build(tmp_path, teacher, images)
    ids = np.array([300, 3, 300, 66])
    for view in (0, 1):
        raw = {
            "id": ids,
            "view": np.full(4, view),
            "inputs": images.inputs[images.rows(ids)],
        }
        expected = teacher(VIEWS.render(raw)["inputs"])["logits"]
        record = cache.read(ids, view)
        np.testing.assert_allclose(record.decode()["logits"], expected, atol=1e-6)
    assert cache.effort["answers"] == 400


def test_order_batch_size_and_blocks_of_the_build_make_no_difference(tmp_path, images, small):
    views = Views((*VIEWS.transforms, Mixup(5)))
    one = build(tmp_path / "one", small(1), images, views)
    other = reordered(images, 5)
    two = build(tmp_path / "two", small(1), other, views, batch_size=17, block_size=256)
    for view in (0, 1):
        a, b = (c.read(images.ids, view).arrays["logits"] for c in (one, two))
        np.testing.assert_allclose(a, b, atol=1e-6)
    one.check(teacher=small(1), dataset=other, views=views, num_classes=5)


@pytest.mark.parametrize("codec", [Dense("bfloat16"), Dense("float16"), TopK(3, (1.0, 4.0))])
def test_every_codec_survives_the_disk(tmp_path, images, small, codec):
    cache = build(tmp_path, small(1), images, codec=codec)
    exact = build(tmp_path / "exact", small(1), images)
    expected = codec.encode(exact.read(images.ids, 1).arrays["logits"])
    found = cache.read(images.ids, 1).arrays
    assert {n: a.dtype.name for n, a in found.items()} == {
        n: a.dtype.name for n, a in expected.items()
    }
    for name, array in expected.items():
        np.testing.assert_allclose(
            found[name].astype(np.float32), array.astype(np.float32), rtol=1e-2, atol=1e-3
        )
    assert cache.codec == codec and caches.Cache(tmp_path).codec == codec


def test_bytes_on_disk_are_what_the_codec_declares(tmp_path, images, small):
    large = Dataset.from_arrays(
        np.zeros((20_000, 8, 8, 1), np.uint8), name="zeros", split="train", num_classes=5
    )
    codec = TopK(3)
    cache = build(tmp_path, small(1), large, codec=codec, block_size=8192, batch_size=1000)
    stored = sum(f.stat().st_size for f in (tmp_path / "records").rglob("*") if f.is_file())
    assert cache.bytes == bytes_per_record(codec, 5) * 40_000
    # The last block is padded to its inner chunks; checksums and indices are a few per mille.
    assert cache.bytes <= stored <= 1.05 * cache.bytes + 6 * 4096


def test_a_selection_reads_the_cache_of_its_source(tmp_path, images, small):
    cache = build(tmp_path, small(1), images)
    part = images.select(images.ids[::3])
    cache.check(teacher=small(1), dataset=part, views=VIEWS)
    cache.check(dataset=images.select(images.ids[50:60]), views=VIEWS)


def test_a_killed_build_is_finished_and_equals_a_whole_one(tmp_path):
    def launch(name, *options):
        return subprocess.run(
            [sys.executable, ELSEWHERE, str(tmp_path / name), "--block_size=16", *options],
            check=False,
        ).returncode

    assert launch("whole") == 0
    assert launch("cut", "--kill_at=6") == -signal.SIGKILL
    with pytest.raises(CacheError, match=r"not complete: [1-9] of 39 blocks.*Run the build again"):
        caches.Cache(tmp_path / "cut")
    assert launch("cut", "--kill_at=10") == -signal.SIGKILL
    assert launch("cut") == 0
    whole, cut = caches.Cache(tmp_path / "whole"), caches.Cache(tmp_path / "cut")
    assert whole.contract == cut.contract
    for view in range(3):
        np.testing.assert_array_equal(
            cut.read(cut.ids, view).arrays["logits"], whole.read(cut.ids, view).arrays["logits"]
        )
    # Two kills, each of which costs at most the block being computed and the one being written.
    assert whole.effort["answers"] == 600 <= cut.effort["answers"] <= 600 + 4 * 16


def test_a_finished_build_asks_the_teacher_nothing(tmp_path, images, small):
    build(tmp_path, small(1), images)
    assert build(tmp_path, small(1), images).effort["answers"] == 400


def test_a_flipped_byte_is_found_when_its_record_is_read(tmp_path, images, small):
    build(tmp_path, small(1), images)
    file = tmp_path / "records" / "logits" / "c" / "1" / "0" / "0"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    cache = caches.Cache(tmp_path)
    cache.read(images.ids, 0)
    with pytest.raises(CacheError, match="damaged in the array 'logits'.*c/1/0/0.*build again"):
        cache.read(images.ids, 1)
    file.unlink()
    with pytest.raises(CacheError, match="'logits'.*missing"):
        cache.read(images.ids, 1)
    np.testing.assert_array_equal(
        build(tmp_path, small(1), images).read(images.ids, 1).arrays["logits"].shape, (200, 5)
    )


def test_flipped_ids_are_found_at_opening(tmp_path, images, small):
    build(tmp_path, small(1), images)
    (file,) = [f for f in (tmp_path / "ids").rglob("*") if f.is_file() and f.name != "zarr.json"]
    data = bytearray(file.read_bytes())
    data[8] ^= 1
    file.write_bytes(data)
    with pytest.raises(CacheError, match="damaged in the array 'ids'"):
        caches.Cache(tmp_path)


def test_reading_from_disk_equals_reading_from_memory(tmp_path, images, small, monkeypatch):
    cache = build(tmp_path, small(1), images)
    monkeypatch.setattr("jaxkd.cache._cache._MEMORY_LIMIT", 0)
    streamed = caches.Cache(tmp_path)
    ids = images.ids[[7, 3, 150, 3]]
    np.testing.assert_array_equal(
        streamed.read(ids, 1).arrays["logits"], cache.read(ids, 1).arrays["logits"]
    )


WRONG = {
    "another teacher": (
        lambda d, s: {"teacher": s(2)},
        r"teacher.parameters: the cache has .* this run has",
    ),
    "another activation": (
        lambda d, s: {"teacher": s(1, activation=jax.nn.gelu)},
        "teacher.architecture: the cache has",
    ),
    "another data set": (
        lambda d, s: {"dataset": replace(d, name="other")},
        'dataset.name: the cache has "random", this run has "other"',
    ),
    "another split": (
        lambda d, s: {"dataset": replace(d, split="test")},
        'dataset.split: the cache has "train", this run has "test"',
    ),
    "other contents": (
        lambda d, s: {"dataset": replace(d, inputs=d.inputs ^ 1)},
        "dataset.fingerprint: the cache has",
    ),
    "another crop": (
        lambda d, s: {"dataset": d, "views": Views((RandomCrop(3), RandomFlip(), Normalize()))},
        'views.transforms: .*"padding": 2.*"padding": 3',
    ),
    "another seed": (
        lambda d, s: {"dataset": d, "views": Views(VIEWS.transforms, seed=7)},
        "views.seed: the cache has 0, this run has 7",
    ),
    "other classes": (
        lambda d, s: {"num_classes": 100},
        "num_classes: the cache has 5, this run has 100",
    ),
}


def replace(data, **changes):
    arguments = {"inputs": data.inputs, "name": data.name, "split": data.split} | changes
    return Dataset.from_arrays(
        labels=data.labels, ids=data.ids, num_classes=data.num_classes, **arguments
    )


@pytest.mark.parametrize("case", WRONG)
def test_a_cache_of_something_else_is_refused_by_field(tmp_path, images, small, case):
    build(tmp_path, small(1), images)
    make, message = WRONG[case]
    own = {"teacher": small(1), "dataset": images, "views": VIEWS}
    caches.open(tmp_path, **own)
    with pytest.raises(CacheError, match=message) as error:
        caches.open(tmp_path, **own | make(images, small))
    assert str(error.value).count("the cache has") == 1


def test_a_named_field_may_be_allowed(tmp_path, images, small):
    build(tmp_path, small(1), images)
    other = small(2)
    allow = {"teacher.parameters"}
    caches.open(tmp_path, teacher=other, dataset=images, views=VIEWS, allow=allow)
    with pytest.raises(ValueError, match="fingerprint is empty"):
        caches.open(tmp_path, teacher={}, dataset=images, views=VIEWS)


def test_another_rendering_of_the_same_specification_is_refused(
    tmp_path, images, small, monkeypatch
):
    build(tmp_path, small(1), images)
    monkeypatch.setattr(RandomFlip, "__call__", lambda self, key, image: image[:, ::-1])
    view_functions._renderer.cache_clear()
    with pytest.raises(CacheError, match="views.probe: the cache has"):
        caches.open(tmp_path, teacher=small(1), dataset=images, views=VIEWS)
    # Nor is a build that was cut short finished with other views than it was begun with.
    (tmp_path / "records/logits/c/1/0/0").unlink()
    with pytest.raises(CacheError, match="views.probe: the cache has"):
        build(tmp_path, small(1), images)


def test_a_selection_has_other_partners_to_mix_with(tmp_path, images, small):
    views = Views((Normalize(), Mixup(5)))
    cache = build(tmp_path, small(1), images, views)
    with pytest.raises(CacheError, match=r"views.partners: .*200 examples.*100 examples"):
        cache.check(dataset=images.select(images.ids[:100]), views=views)


def test_missing_records_are_refused(tmp_path, images, small):
    part = images.select(images.ids[:150])
    cache = build(tmp_path, small(1), part)
    with pytest.raises(CacheError, match=r"missing records: 50 of 200 .*\[453, 456"):
        cache.check(dataset=images)
    with pytest.raises(CacheError, match="3 views of each example are wanted.* has 2"):
        cache.check(num_views=3)
    with pytest.raises(CacheError, match="view 2 is wanted"):
        cache.read(part.ids[:1], 2)


def test_building_over_another_cache_is_refused_and_harms_nothing(tmp_path, images, small):
    build(tmp_path, small(1), images)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    for options in ({"codec": Dense("float16")}, {"num_views": 3}):
        with pytest.raises(CacheError, match="does not belong to this run"):
            build(tmp_path, small(1), images, **options)
    with pytest.raises(CacheError, match="teacher.parameters"):
        build(tmp_path, small(2), images)
    assert before == {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


def test_there_is_no_cache(tmp_path, images):
    with pytest.raises(CacheError, match="there is no cache at"):
        caches.open(tmp_path / "nothing", teacher={"network": "mine"}, dataset=images)


def test_a_newer_format_is_refused(tmp_path, images, small):
    build(tmp_path, small(1), images)
    file = tmp_path / "contract.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(CacheError, match="format 2, this release reads format 1"):
        caches.Cache(tmp_path)


def test_answers_that_cannot_be_kept_stop_the_build(tmp_path, images):
    def function(params, inputs):
        return inputs.reshape(len(inputs), -1)[:, :5] * 1e3

    teacher = jaxkd.from_function(function, {})
    views = Views((Normalize(scale=1.0),))
    with pytest.raises(CacheError, match=r"cannot keep the teacher's logits of \d+ examples, ids"):
        build(tmp_path, teacher, images, views, codec=Dense("float16"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_views": 0}, "num_views must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ],
)
def test_bad_sizes_are_refused(tmp_path, images, small, options, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, small(1), images, **options)


def test_logits_of_the_wrong_rank_are_refused(tmp_path, images):
    teacher = jaxkd.from_function(lambda params, inputs: inputs, {})
    with pytest.raises(ValueError, match=r"must be \[batch, num_classes\], not \(1, 8, 8, 1\)"):
        build(tmp_path, teacher, images)
