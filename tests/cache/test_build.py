import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from cache_builder import reordered
from tiers import few

import jaxkd
from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.data import Dataset
from jaxkd.targets import Dense, Sampled, TopK, TopP, bytes_per_record
from jaxkd.views import Mixup, Normalize, RandomCrop, RandomFlip, Views

BUILDER = str(pathlib.Path(__file__).parents[1] / "cache_builder.py")
VIEWS = Views((RandomCrop(2), RandomFlip(), Normalize()))


def build(path, teacher, data, views=VIEWS, **options):
    options = {"num_views": 2, "block_size": 64, "batch_size": 32, "progress": False} | options
    return caches.build(path, teacher, data, views, **options)


def test_records_are_the_teachers_outputs(tmp_path, images, small):
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
    assert cache.build_cost["records"] == 400


def test_order_batch_size_and_blocks_of_the_build_make_no_difference(tmp_path, images, small):
    views = Views((*VIEWS.transforms, Mixup(5)))
    one = build(tmp_path / "one", small(1), images, views)
    other = reordered(images, 5)
    two = build(tmp_path / "two", small(1), other, views, batch_size=17, block_size=256)
    for view in (0, 1):
        a, b = (c.read(images.ids, view).decode()["logits"] for c in (one, two))
        np.testing.assert_allclose(a, b, atol=1e-6)
    one.check(teacher=small(1), dataset=other, views=views, num_classes=5)


@few("codec", [TopK(3, (1.0, 4.0)), Dense("bfloat16"), Dense("float16")], keep=2)
def test_every_codec_survives_the_disk(tmp_path, images, small, codec):
    cache = build(tmp_path, small(1), images, codec=codec)
    exact = build(tmp_path / "exact", small(1), images)
    expected = codec.encode(exact.read(images.ids, 1).decode()["logits"])
    found = cache.read(images.ids, 1).arrays["logits"]
    assert {n: a.dtype.name for n, a in found.items()} == {
        n: a.dtype.name for n, a in expected.items()
    }
    for name, array in expected.items():
        np.testing.assert_allclose(
            found[name].astype(np.float32), array.astype(np.float32), rtol=1e-2, atol=1e-3
        )
    assert cache.codecs == caches.Cache(tmp_path).codecs == {"logits": codec}


@pytest.mark.parametrize(
    "codec",
    [
        *(Dense(dtype) for dtype in ("float32", "bfloat16", "int8")),
        TopK(3),
        TopK(4, (1.0, 4.0), values="int8", label=True),
        Sampled(8),
    ],
    ids=str,
)
def test_bytes_on_disk_are_what_the_codec_declares(tmp_path, codec):
    count = 16_384
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(
        np.zeros((count, 1)), rng.integers(0, 50, count), name="z", split="train", num_classes=50
    )
    writer = caches.Writer(tmp_path, {"name": "z"}, data, shapes={"logits": (50,)}, codec=codec)
    with writer:
        for ids, view in writer.missing(8192):
            writer.write(ids, view, rng.normal(size=(len(ids), 50)))
    stored = sum(f.stat().st_size for f in tmp_path.rglob("records/*/c/**/*") if f.is_file())
    declared = bytes_per_record(codec, (50,)) * count
    assert writer.cache().bytes == declared
    # Checksums and indices; what can be compressed takes less than it declares.
    assert declared <= stored <= 1.05 * declared


def test_unused_places_are_compressed(tmp_path, images, small):
    cache = build(tmp_path, small(1), images, codec=TopP(0.5, 5), block_size=256)
    (file,) = tmp_path.rglob("records/logits.values/c/0/0/0")
    assert cache.shapes == {"logits": (5,)} and file.stat().st_size < 200 * 5 * 2


@pytest.mark.slow
def test_a_killed_build_is_finished_and_equals_a_whole_one(tmp_path):
    def launch(name, *options):
        return subprocess.run(
            [sys.executable, BUILDER, str(tmp_path / name), "--block_size=16", *options],
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
            cut.read(cut.ids, view).decode()["logits"],
            whole.read(cut.ids, view).decode()["logits"],
        )
    # The cost is saved at the end of a build, so that of the killed ones is not included.
    assert whole.build_cost["records"] == 600 and 0 < cut.build_cost["records"] < 600


def test_a_finished_build_does_not_run_the_teacher(tmp_path, images, small):
    build(tmp_path, small(1), images)
    assert build(tmp_path, small(1), images).build_cost["records"] == 400


def test_outputs_that_cannot_be_stored_stop_the_build(tmp_path, images):
    def function(params, inputs):
        return inputs.reshape(len(inputs), -1)[:, :5] * 1e3

    teacher = jaxkd.from_function(function, {})
    views = Views((Normalize(scale=1.0),))
    with pytest.raises(CacheError, match=r"cannot store the teacher's logits of \d+ examples, ids"):
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


def test_logits_without_an_axis_of_classes_are_refused(tmp_path, images):
    teacher = jaxkd.from_function(lambda params, inputs: inputs.sum((1, 2, 3)), {})
    with pytest.raises(ValueError, match=r"must be \[batch, ..., num_classes\], not \(1,\)"):
        build(tmp_path, teacher, images)


def test_several_outputs_each_with_its_codec(tmp_path, images, small):
    teacher = small(1, features={"map": "conv"})
    codecs = {"logits": TopK(2), "map": Dense("float16")}
    cache = build(tmp_path, teacher, images, codec=codecs)
    assert cache.shapes == {"logits": (5,), "map": (8, 8, 4)} and cache.codecs == codecs
    assert cache.bytes_per_record == bytes_per_record(codecs["logits"], (5,)) + 8 * 8 * 4 * 2
    raw = {"id": images.ids[:9], "view": np.ones(9, int), "inputs": images.inputs[:9]}
    expected = teacher(VIEWS.render(raw)["inputs"])["map"]
    decoded = cache.read(images.ids[:9], 1).decode()
    np.testing.assert_allclose(decoded["map"], expected, atol=1e-3)
    assert decoded["logits"].num_classes == 5
    with pytest.raises(ValueError, match=r"no output \['stage9'\]; it has \['logits', 'map'\]"):
        build(tmp_path / "other", teacher, images, codec={"stage9": Dense()})


def test_the_padding_of_a_vocabulary_is_cut_off(tmp_path, images, small):
    cache = build(tmp_path, small(1), images, valid_classes=3)
    whole = build(tmp_path / "whole", small(1), images)
    assert cache.num_classes == 3 and cache.contract["num_logits"] == 5
    a, b = (c.read(images.ids, 0).decode()["logits"] for c in (cache, whole))
    np.testing.assert_array_equal(a, b[:, :3])
    with pytest.raises(CacheError, match="num_classes: the cache has 3, this run has 5"):
        build(tmp_path, small(1), images)
    with pytest.raises(ValueError, match="between 1 and 5, not 6"):
        build(tmp_path / "other", small(1), images, valid_classes=6)


def test_the_teacher_may_lie_on_a_mesh(tmp_path, images, small):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    here = build(tmp_path / "one", small(1), images)
    there = build(tmp_path / "eight", small(1), images, batch_sharding=spread)
    for view in (0, 1):
        a, b = (c.read(images.ids, view).decode()["logits"] for c in (here, there))
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_processes_share_the_work_and_none_waits(tmp_path):
    """Two at a time, of which one is killed: the other finishes for both."""

    def start(name, index, *options):
        command = [sys.executable, BUILDER, str(tmp_path / name), "--block_size=16"]
        return subprocess.Popen([*command, "--process", str(index), "2", *options])

    # One that starts late must not find everything done.
    alive, killed = start("shared", 0, "--wait_at=3"), start("shared", 1, "--kill_at=3")
    assert (alive.wait(), killed.wait()) == (0, -signal.SIGKILL)
    alone = subprocess.run([sys.executable, BUILDER, str(tmp_path / "alone")], check=False)
    assert alone.returncode == 0
    shared, alone = caches.Cache(tmp_path / "shared"), caches.Cache(tmp_path / "alone")
    for view in range(3):
        a, b = (c.read(c.ids, view).decode()["logits"] for c in (shared, alone))
        np.testing.assert_allclose(a, b, atol=1e-6)
