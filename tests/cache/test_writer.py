import numpy as np
import pytest
from conftest import random_images, small_network

from jaxkd import cache as caches
from jaxkd.cache import CacheError, Writer
from jaxkd.data import Dataset, Loader
from jaxkd.targets import Dense, TopK
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(2), Normalize()))
IMAGES = random_images()
NAME = {"name": "somebody's", "sha256": "12ab"}
LOGITS = np.random.default_rng(0).normal(size=(2, 200, 5)).astype(np.float32)


def writer(path, **options):
    options = {"shapes": {"logits": (5,)}, "num_views": 2, "block_size": 64} | options
    return Writer(path, NAME, IMAGES, VIEWS, **options)


def test_outputs_come_in_any_order_and_number(tmp_path):
    order = np.random.default_rng(1).permutation(200)
    with writer(tmp_path) as one:
        assert one.remaining() == 400
        for rows in np.split(order, [1, 4, 90, 91, 150]):
            for view in (1, 0):
                one.write(IMAGES.ids[rows], view, LOGITS[view, rows])
        assert one.remaining() == 0
    cache = caches.open(tmp_path, teacher=NAME, dataset=IMAGES, views=VIEWS)
    for view in (0, 1):
        np.testing.assert_array_equal(
            cache.read(IMAGES.ids[order], view).decode()["logits"], LOGITS[view, order]
        )
    with pytest.raises(CacheError, match='teacher.sha256: the cache has "12ab", this run has "34"'):
        caches.open(tmp_path, teacher=NAME | {"sha256": "34"}, dataset=IMAGES, views=VIEWS)


def test_no_outputs_are_no_error(tmp_path):
    one = writer(tmp_path)
    one.write(IMAGES.ids[:0], 0, LOGITS[0, :0])
    assert one.remaining() == 400


def test_outputs_from_before_an_interruption_are_not_requested_again(tmp_path):
    first = writer(tmp_path)
    some = IMAGES.ids[50:130]
    first.write(some, 1, LOGITS[1, 50:130])
    first.close()
    with pytest.raises(CacheError, match="not complete"):
        first.cache()
    second = writer(tmp_path)
    missing = list(second.missing(1000))
    assert sum(len(ids) for ids, _ in missing) == second.remaining() == 320
    assert not any(np.isin(some, ids).any() for ids, view in missing if view == 1)
    for ids, view in missing:
        second.write(ids, view, LOGITS[view, IMAGES.rows(ids)])
    assert second.close()
    np.testing.assert_array_equal(second.cache().read(IMAGES.ids, 1).decode()["logits"], LOGITS[1])
    assert not list(tmp_path.rglob("partial/*/*/*"))


def test_two_writers_may_each_have_a_part_of_a_block(tmp_path):
    one, two = writer(tmp_path, process=(0, 2)), writer(tmp_path, process=(1, 2))
    for view in (0, 1):
        one.write(IMAGES.ids[::2], view, LOGITS[view, ::2])
        two.write(IMAGES.ids[1::2], view, LOGITS[view, 1::2])
    assert not one.close()
    assert two.close()
    cache = two.cache()
    for view in (0, 1):
        np.testing.assert_array_equal(cache.read(IMAGES.ids, view).decode()["logits"], LOGITS[view])


def test_each_writer_requests_its_share_first_and_then_the_rest(tmp_path):
    one, two = writer(tmp_path, process=(0, 2)), writer(tmp_path, process=(1, 2))
    own = {(int(i), view) for ids, view in list(one.missing(64))[:4] for i in ids}
    others = {(int(i), view) for ids, view in list(two.missing(64))[:4] for i in ids}
    assert not own & others and len(own | others) == 400
    assert one.remaining() + two.remaining() == 400


def test_several_outputs_and_padded_logits(tmp_path):
    codecs = {"logits": TopK(2), "embedding": Dense("float16")}
    shapes = {"logits": (5,), "embedding": (3,)}
    outputs = {
        "logits": np.pad(LOGITS[0], ((0, 0), (0, 2)), constant_values=99.0),
        "embedding": np.ones((200, 3)),
        "unused": np.ones(200),
    }
    one = writer(tmp_path, codec=codecs, shapes=shapes, num_logits=7, num_views=1)
    one.write(IMAGES.ids, 0, outputs)
    one.close()
    decoded = one.cache().read(IMAGES.ids, 0).decode()
    np.testing.assert_array_equal(decoded["logits"].indices[:, 0], LOGITS[0].argmax(-1))
    np.testing.assert_array_equal(decoded["embedding"], 1.0)


@pytest.mark.parametrize(
    ("ids", "outputs", "error", "message"),
    [
        ([3], np.ones((1, 4)), ValueError, r"shape \(1, 5\), not \(1, 4\)"),
        ([3, 6], np.ones((1, 5)), ValueError, r"shape \(2, 5\), not \(1, 5\)"),
        ([3], {"features": 1}, ValueError, r"stores 'logits', the outputs are \['features'\]"),
        ([3], np.full((1, 5), np.nan), CacheError, r"cannot store .* ids \[3\] first"),
        ([4], np.ones((1, 5)), KeyError, "1 of 1 ids are not in random"),
        ([3 + 2**32], np.ones((1, 5)), KeyError, "1 of 1 ids are not in random.*4294967299"),
        ([3.5], np.ones((1, 5)), TypeError, "ids must be integers, got dtype float64"),
        ([True], np.ones((1, 5)), TypeError, r"dtype bool.*write dataset.ids\[mask\]"),
        ([3, 6, 3], np.ones((3, 5)), ValueError, "id must be unique; 1 of 3 do not fit: 3"),
        ([[3]], np.ones((1, 5)), ValueError, r"ids must have the shape \[n\], not \[1, 1\]"),
    ],
)
def test_bad_outputs_are_refused(tmp_path, ids, outputs, error, message):
    one = writer(tmp_path)
    with pytest.raises(error, match=message):
        one.write(np.array(ids), 0, outputs)
    assert one.remaining() == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": {"stage1": Dense()}}, r"output 'stage1', the teacher has \['logits'\]"),
        ({"codec": {}}, "no output of the teacher is stored"),
        ({"process": (2, 2)}, r"index < count, not \(2, 2\)"),
        ({"codec": TopK(6)}, "k=6 classes, the teacher has 5"),
        ({"codec": "float16"}, r"'float16' is no codec.*'logits': write Dense\('float16'\)"),
        ({"codec": {"logits": TopK}}, r"TopK'> is no codec.*write TopK\(…\)"),
        ({"num_logits": 4}, "num_logits=4 are fewer than the 5 classes"),
        ({"spot_check": True}, r"spot_check must be a function \(ids, view\) → outputs, not True"),
        ({"spot_check": lambda ids, view: None}, "what spot_check returns does not fit: logits of"),
        ({"num_views": 1.5}, "num_views must be an integer, not 1.5"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        writer(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_view_that_is_no_integer_and_a_path_that_is_a_file_are_refused(tmp_path):
    one = writer(tmp_path / "c")
    with pytest.raises(TypeError, match="view must be an integer, not 0.5"):
        one.write(IMAGES.ids, 0.5, LOGITS[0])
    assert one.remaining() == 400
    (tmp_path / "f").touch()
    for path in (tmp_path / "f", tmp_path / "f" / "cache"):
        with pytest.raises(CacheError, match=r"a cache is a directory, .*f is a file"):
            writer(path)


def test_filling_trains_on_what_reading_gives_later(tmp_path):
    teacher = small_network(1)
    own = {"teacher": teacher, "dataset": IMAGES, "views": VIEWS}
    writing = caches.open(tmp_path, **own, mode="fill", codec=TopK(3), num_views=2, block_size=64)
    loader = Loader(IMAGES, VIEWS, 40, seed=5, cache=writing)
    seen = [loader[step]["teacher"] for step in range(7)]
    assert writing.num_computed == 280 and not writing.close()
    # Interrupted here: the outputs are on disk and are not computed again.
    with caches.open(
        tmp_path, **own, mode="fill", codec=TopK(3), num_views=2, block_size=64
    ) as second:
        loader = Loader(IMAGES, VIEWS, 40, seed=5, cache=second)
        seen += [loader[step]["teacher"] for step in range(5, 12)]
        assert second.num_computed == 120
    cache = caches.open(tmp_path, **own)
    loader = Loader(IMAGES, VIEWS, 40, seed=5, cache=cache)
    steps = [*range(7), *range(5, 12)]
    for step, record in zip(steps, seen, strict=True):
        for name, array in record.arrays["logits"].items():
            np.testing.assert_array_equal(array, loader[step]["teacher"].arrays["logits"][name])
    built = caches.build(tmp_path / "b", teacher, IMAGES, VIEWS, num_views=2, progress=False)
    np.testing.assert_allclose(
        np.take_along_axis(
            np.asarray(built.read(IMAGES.ids, 1).decode()["logits"]),
            np.asarray(cache.read(IMAGES.ids, 1).decode()["logits"].indices[:, :1]),
            axis=1,
        )[:, 0],
        np.asarray(built.read(IMAGES.ids, 1).decode()["logits"]).max(1),
        atol=1e-5,
    )


def test_filling_refuses_what_does_not_fit(tmp_path):
    own = {"teacher": small_network(1), "dataset": IMAGES, "views": VIEWS, "mode": "fill"}
    with pytest.raises(CacheError, match="4,000 bytes of memory, the limit is 3,000"):
        caches.open(tmp_path, **own, memory_limit=3000)
    with pytest.raises(ValueError, match="needs the network itself"):
        caches.open(tmp_path, **own | {"teacher": NAME})
    with pytest.raises(ValueError, match="'read' or 'fill', not 'append'"):
        caches.open(tmp_path, **own | {"mode": "append"})
    writing = caches.open(tmp_path, **own)
    with pytest.raises(CacheError, match="views.seed"):
        Loader(IMAGES, Views(VIEWS.transforms, seed=3), 8, cache=writing)
    with pytest.raises(CacheError, match="2 views .* filled with 1"):
        Loader(IMAGES, VIEWS, 8, cache=writing, num_views=2)
    with pytest.raises(CacheError, match="view 1 is wanted"):
        writing.read(IMAGES.ids[:1], 1)


@pytest.mark.parametrize(
    ("shapes", "error", "message"),
    [
        ({"logits": 3}, TypeError, r"the shape of 'logits' is a tuple, write \(3,\), not 3"),
        ({"logits": "3"}, TypeError, r"the shape of 'logits' is a tuple, write \(10,\), not '3'"),
        ({"logits": (3.0,)}, TypeError, "each size of 'logits'"),
        ({"logits": (0,)}, ValueError, r"each size of 'logits' must be at least 1"),
        ((3,), TypeError, r"shapes maps outputs to the shape for one example, .*not \(3,\)"),
        ({}, TypeError, "shapes maps outputs to the shape"),
    ],
)
def test_shapes_of_another_kind_are_refused(tmp_path, shapes, error, message):
    data = Dataset.from_arrays(np.ones((2, 1)), name="d", split="train", num_classes=3)
    with pytest.raises(error, match=message):
        Writer(tmp_path, {"name": "t"}, data, shapes=shapes)


def test_a_teacher_of_another_kind_is_refused_with_what_to_write(tmp_path):
    data = Dataset.from_arrays(np.ones((2, 1)), name="d", split="train", num_classes=3)
    with Writer(tmp_path / "c", {"name": "t"}, data, shapes={"logits": (3,)}) as writer:
        writer.write([0, 1], 0, np.zeros((2, 3)))
    message = "a teacher is a Network, or a mapping that names one, not 'resnet'"
    with pytest.raises(TypeError, match=message):
        Writer(tmp_path / "new", "resnet", data, shapes={"logits": (3,)})
    with pytest.raises(TypeError, match=message):
        caches.open(tmp_path / "c", teacher="resnet", dataset=data)
    runs = "the teacher is run here, so it must be a Network, not .*jaxkd.cache.Writer"
    for teacher in ("resnet", {"name": "t"}):
        with pytest.raises(TypeError, match=runs):
            caches.build(tmp_path / "new", teacher, data)
        with pytest.raises(TypeError, match=runs):
            caches.extend(tmp_path / "c", teacher, data, num_views=2)
        with pytest.raises(TypeError, match=runs):
            caches.spot_check(writer.cache(), teacher, data)
    assert not (tmp_path / "new").exists()
