"""Caches of teachers that see dictionaries of inputs, and labels of every kind beside them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxkd
from jaxkd import cache
from jaxkd.cache import CacheError
from jaxkd.cache._contents import CacheContents
from jaxkd.data import Dataset, Loader
from jaxkd.targets import Dense, TopK
from jaxkd.views import Views

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
AGE = np.arange(20, dtype=np.float32)[:, None]
COLOR, BOX = np.arange(20) % 3, np.arange(80.0).reshape(20, 4)
NAMED = {"name": "people", "split": "train"}


def _data(rows=slice(None), labels=None, age=AGE, **changes):
    arguments = {"num_classes": {"color": 3}, "ids": np.arange(100, 120)[rows]} | changes
    labels = {"color": COLOR[rows], "box": BOX[rows]} if labels is None else labels
    inputs = {"image": IMAGE[rows], "person": {"age": age[rows]}}
    return Dataset.from_arrays(inputs, labels, **arguments, **NAMED)


def _apply(params, inputs):
    pixels = inputs["image"].reshape(len(inputs["image"]), -1) / 255.0
    return pixels @ params + jnp.cos(inputs["person"]["age"])


TEACHER = jaxkd.from_function(_apply, jnp.asarray(np.eye(16, 3), jnp.float32))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("dictionaries") / "cache"
    cache.build(path, TEACHER, _data(slice(0, 16)), codec=Dense("float32"), progress=False)
    return path


def _logits(data):
    return np.asarray(_apply(TEACHER.params, jax.tree.map(jnp.asarray, data.inputs)))


def test_a_teacher_of_dictionaries_is_built_opened_and_read(path):
    data = _data(slice(0, 16))
    opened = cache.open(path, teacher=TEACHER, dataset=data, views=Views())
    batch = Loader(cache=opened, batch_size=4)[1]
    rows = data.rows(batch["id"])
    decoded = batch["teacher"].decode()["logits"]
    np.testing.assert_allclose(decoded, _logits(data)[rows], rtol=1e-6)
    np.testing.assert_array_equal(batch["labels"]["box"], BOX[rows])
    assert cache.verify(path) == []
    assert opened.contract["dataset.num_classes"] == {"box": None, "color": 3}


def test_a_data_set_of_dictionaries_grows_and_what_changed_is_named(path, tmp_path):
    grown = cache.subset(path, tmp_path / "grown", dataset=_data())
    assert len(grown.ids) == 16
    whole = cache.extend(tmp_path / "grown", TEACHER, _data(), progress=False)
    np.testing.assert_allclose(
        whole.read(_data().ids, 0).decode()["logits"], _logits(_data()), rtol=1e-6
    )
    other = _data(slice(0, 16), age=AGE + (AGE == 3))
    with pytest.raises(CacheError, match=r"dataset.examples: .* 1 of these 16 .*ids \[103\]"):
        cache.open(path, teacher=TEACHER, dataset=other, views=Views())


def test_label_sets_are_compared_where_both_have_the_same_ones(path):
    rows = slice(0, 16)
    moved = {"color": COLOR[rows], "box": BOX[rows] + (np.arange(16) == 5)[:, None]}
    with pytest.raises(CacheError, match=r"dataset.labels: .*1 of these 16 examples, ids \[105\]"):
        cache.open(path, teacher=TEACHER, dataset=_data(rows, moved), views=Views())
    allowed = {"dataset.labels"}
    cache.open(path, teacher=TEACHER, dataset=_data(rows, moved), views=Views(), allow=allowed)
    for labels in ({"color": COLOR[rows]}, {"color": COLOR[rows], "more": BOX[rows]}):
        cache.open(path, teacher=TEACHER, dataset=_data(rows, labels), views=Views())
    cache.open(path, teacher=TEACHER, dataset=_data(rows).with_labels([103]), views=Views())
    wider = _data(rows, num_classes={"color": 4})
    with pytest.raises(
        CacheError, match=r'dataset.num_classes: the cache has {"box": null, "color'
    ):
        cache.open(path, teacher=TEACHER, dataset=wider, views=Views())


def test_values_as_labels_are_compared_and_no_number_of_classes_is_needed(tmp_path):
    rows = slice(0, 16)
    values = _data(rows, BOX[rows], num_classes=None)
    cache.build(tmp_path / "values", TEACHER, values, progress=False)
    assert "dataset.num_classes" not in cache.Cache(tmp_path / "values").contract
    unknown = np.where(np.arange(16)[:, None] == 2, np.nan, BOX[rows])
    others = _data(rows, unknown, num_classes=None)
    cache.open(tmp_path / "values", teacher=TEACHER, dataset=others, views=Views())
    with pytest.raises(CacheError, match="dataset.labels: the cache has other labels of 16"):
        cache.open(
            tmp_path / "values",
            teacher=TEACHER,
            views=Views(),
            dataset=_data(rows, BOX[rows] + 1, num_classes=None),
        )


def test_what_needs_classes_of_a_cache_says_so(path):
    data = _data(slice(0, 16))
    with pytest.raises(ValueError, match=r"TopK.*needs one class.*labels\['color'\]"):
        CacheContents.of_teacher(TEACHER, data, None, TopK(2, label=True)).check()
    with pytest.raises(ValueError, match="accuracy of a teacher needs one class"):
        cache.stats(cache.Cache(path), data)
    color = dataclasses.replace(data, labels=data.labels["color"], num_classes=3, class_names=())
    accuracy = np.mean(_logits(data).argmax(-1) == data.labels["color"])
    assert cache.stats(cache.Cache(path), color).accuracy == pytest.approx(accuracy)
    with pytest.raises(CacheError, match="dataset.num_classes: the cache has"):
        cache.stats(cache.Cache(path), dataclasses.replace(color, num_classes=4))


def test_maps_of_classes_are_stored_by_pixel():
    pixels = jaxkd.from_function(lambda params, inputs: inputs / 255.0 * params, jnp.arange(3.0))
    maps = Dataset.from_arrays(IMAGE, IMAGE[..., 0] % 3, num_classes=3, **NAMED)
    contents = CacheContents.of_teacher(pixels, maps, None, TopK(2, label=True))
    contents.check()
    assert contents.fields()["dataset.num_classes"] == 3
    whole = CacheContents.of_teacher(
        TEACHER, _data(labels=IMAGE[..., 0] % 3, num_classes=3), None, TopK(2, label=True)
    )
    with pytest.raises(ValueError, match=r"needs one class .* int32\[4, 4\]"):
        whole.check()


def test_shapes_are_those_of_a_batch_where_a_network_takes_no_single_example(tmp_path):
    def in_parts(params, inputs):
        return (inputs.reshape(4, -1, 16) / 255.0 @ params).reshape(-1, 3)

    network = jaxkd.from_function(in_parts, jnp.eye(16, 3))
    data = Dataset.from_arrays(IMAGE, COLOR, num_classes=3, **NAMED)
    built = cache.build(tmp_path / "parts", network, data, batch_size=4, progress=False)
    expected = in_parts(np.eye(16, 3), IMAGE.astype(np.float32))
    np.testing.assert_allclose(built.read(data.ids, 0).decode()["logits"], expected, rtol=1e-6)
    cache.open(tmp_path / "parts", teacher=network, dataset=data, views=Views())
    wrong = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(7))
    with pytest.raises(TypeError, match=r"\(1, 4, 4, 1\)|dot_general"):
        CacheContents.of_teacher(wrong, data, None, Dense())
