"""Dictionaries of inputs, and labels of every shape, name and kind."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest
from prepared import photos

from jaxkd.data import (
    CenterCrop,
    Dataset,
    EncodedImages,
    GrainSource,
    Loader,
    Sequences,
    eval_batches,
    raw_batch,
    split_labels,
)
from jaxkd.data._labels import class_ids
from jaxkd.views import Views

NAMED = {"name": "a", "split": "train"}
IMAGE = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4, 1)
AGE = np.arange(5, dtype=np.float32)[:, None]
MAPS = np.arange(5 * 4 * 4).reshape(5, 4, 4) % 3
BOXES = np.arange(5 * 2 * 4, dtype=np.float64).reshape(5, 2, 4)
TAGS = np.arange(15).reshape(5, 3) % 2 == 0


def _everything(ids=range(5), **changes):
    arguments = {
        "inputs": {"image": IMAGE, "person": {"age": AGE}},
        "labels": {"box": BOXES, "map": MAPS, "tags": TAGS, "color": [0, 1, -1, 3, 0]},
        "num_classes": {"map": 3, "tags": 3, "color": 4},
    } | changes
    return Dataset.from_arrays(arguments.pop("inputs"), ids=ids, **arguments, **NAMED)


def test_fields_of_every_kind_are_sorted_selected_and_read_by_id():
    data = _everything(ids=[8, 6, 4, 2, 0])
    backwards = slice(None, None, -1)
    np.testing.assert_array_equal(data.inputs["image"], IMAGE[backwards])
    np.testing.assert_array_equal(data.labels["box"], BOXES[backwards].astype(np.float32))
    assert {n: a.dtype.name for n, a in data.labels.items()} == {
        "box": "float32",
        "map": "int32",
        "tags": "int32",
        "color": "int32",
    }
    assert data.shape == {"image": (4, 4, 1), "person": {"age": (1,)}}
    assert data.num_classes == {"box": None, "map": 3, "tags": 3, "color": 4}
    read = data.read([6, 8, 6])
    np.testing.assert_array_equal(read["person"]["age"], AGE[[1, 0, 1]])
    part = data.select([8, 2])
    np.testing.assert_array_equal(part.labels["map"], MAPS[[3, 0]])
    assert part.fingerprint == data.fingerprint and len(part) == 2
    for array in (data.inputs["person"]["age"], data.labels["map"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(data)).labels["map"], data.labels["map"]
    )


def test_labels_are_kept_for_some_examples_in_every_set():
    few = _everything().with_labels([1])
    assert few.labels["color"].tolist() == [-1, 1, -1, -1, -1]
    assert (few.labels["map"][[0, 2]] == -1).all() and (few.labels["map"][1] == MAPS[1]).all()
    assert np.isnan(few.labels["box"][0]).all() and not np.isnan(few.labels["box"][1]).any()
    assert "1 labeled by" in repr(few)


def test_text_of_a_data_set_names_arrays_and_kinds_of_labels():
    assert repr(_everything()) == (
        "Dataset('a' 1, split 'train': 5 examples {image uint8[4, 4, 1], person.age float32[1]}, 5 "
        "labeled by box float32[2, 4], color 4 classes, map int32[4, 4] of 3 classes, "
        "tags int32[3] of 3 classes)"
    )
    values = Dataset.from_arrays(AGE, [0.0, np.nan, 2.0, 3.0, 4.0], **NAMED)
    assert "4 labeled by float32[])" in repr(values)
    assert "0 labeled)" in repr(Dataset.from_arrays(AGE, **NAMED))


def test_an_ignored_label_counts_no_more_where_it_is_declared():
    maps = MAPS.astype(np.uint8)
    maps[2, 1, 3] = 255
    data = Dataset.from_arrays(IMAGE, maps, num_classes=3, ignore_label=255, **NAMED)
    assert data.labels[2, 1, 3] == -1 and (data.labels >= 0).sum() == 79
    ints = Dataset.from_arrays(AGE, [0, -100, 1, 1, 0], num_classes=2, ignore_label=-100, **NAMED)
    assert ints.labels.tolist() == [0, -1, 1, 1, 0]
    with pytest.raises(ValueError, match="ignore_label=255 is one of integer labels"):
        Dataset.from_arrays(AGE, BOXES, ignore_label=255, **NAMED)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"labels": {"map": MAPS + 1}, "num_classes": {"map": 3}, "ids": range(10, 15)},
            ValueError,
            r"26 of 80 labels.map are .*: label 3 of example id 10 at \[0, 2\]; labels.map must be "
            r"in \[0, 3\).*ignore_label=255",
        ),
        (
            {"labels": MAPS * 1.0, "num_classes": 3},
            TypeError,
            "must be integers, got dtype float64",
        ),
        ({"labels": MAPS, "num_classes": None}, TypeError, "number, num_classes=….*float32"),
        ({"labels": [True] * 5, "num_classes": 2}, TypeError, r"labels\[:, None\]"),
        ({"labels": {"map": MAPS}, "num_classes": 3}, ValueError, "num_classes={'map': …}, not 3"),
        ({"labels": [0] * 5, "num_classes": {"a": 3}}, ValueError, "labels are one array"),
        ({"num_classes": {"mop": 3}}, ValueError, r"num_classes has \['mop'\], the label sets are"),
        ({"labels": {"a.b": MAPS}, "num_classes": {"a.b": 3}}, ValueError, "names without dots"),
        ({"labels": {}, "num_classes": None}, ValueError, "label sets have names"),
        (
            {"labels": {"map": MAPS[:4]}, "num_classes": {"map": 3}},
            ValueError,
            "labels.map must have",
        ),
        ({"inputs": {}}, ValueError, "inputs must be arrays by names"),
        ({"inputs": {"a": {"b.c": AGE}}}, ValueError, "inputs.a must be arrays by names without"),
        ({"inputs": {"a": AGE, "b": AGE[:4]}}, ValueError, "got lengths {'a': 5, 'b': 4}"),
        ({"inputs": {"a": AGE, "b": 3.0}}, ValueError, "inputs.b must have a leading axis"),
        (
            {"labels": [0.0, 1e300, 1.0, 2.0, 3.0], "num_classes": None},
            ValueError,
            "1 of 5 labels are infinite as float32, that of example id 1 first",
        ),
        (
            {"labels": np.where(BOXES == 10.0, np.nan, BOXES), "num_classes": None},
            ValueError,
            r"1 of 5 labels are NaN in part, that of example id 1 first at \[0, 2\]",
        ),
        (
            {"labels": [1j] * 5, "num_classes": None},
            TypeError,
            "integers or floats, got dtype comp",
        ),
        ({"class_names": ("a", "b", "c")}, ValueError, "so is class_names="),
        ({"class_names": {"map": ("a",)}}, ValueError, "Got 1 class_names of map for 3 classes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        _everything(**changes)


def test_labels_of_classes_may_be_distributions_or_one_decision():
    soft = Dataset.from_arrays(AGE, np.full((5, 3), 1 / 3), num_classes=3, **NAMED)
    assert soft.labels.dtype == np.float32 and soft.num_classes == 3
    one = Dataset.from_arrays(AGE, TAGS[:, :1], num_classes=1, **NAMED)
    assert one.labels.tolist() == [[1], [0], [1], [0], [1]]
    with pytest.raises(ValueError, match=r"label 2 of example id 4 at \[0\]"):
        Dataset.from_arrays(AGE, [[0], [1], [1], [0], [2]], num_classes=1, **NAMED)


def test_batches_mark_values_that_are_missing():
    data = Dataset.from_arrays(AGE, [0.5, np.nan, 2.0, 3.0, np.nan], **NAMED)
    batch = raw_batch(data, Views(), np.array([1, 2]), np.zeros(2, np.int32))
    assert batch["labels"].tolist() == [0.0, 2.0] and batch["labeled"].tolist() == [False, True]
    both = _everything().with_labels([2])
    batch = raw_batch(both, Views(), np.array([1, 2]), np.zeros(2, np.int32))
    assert batch["labeled"].keys() == {"box"} and batch["labeled"]["box"].tolist() == [False, True]
    assert not batch["labels"]["box"][0].any() and (batch["labels"]["map"][0] == -1).all()
    assert "where" not in batch


def test_loaders_and_evaluation_hand_on_dictionaries():
    data = _everything()
    loader = Loader(data, Views(), 2)
    batch = loader[1]
    np.testing.assert_array_equal(batch["inputs"]["image"], IMAGE[batch["id"]])
    np.testing.assert_array_equal(batch["labels"]["tags"], TAGS[batch["id"]])
    *_, last = eval_batches(data, 3)
    assert last["where"].tolist() == [True, True, False] and last["id"].tolist() == [3, 4, 0]
    np.testing.assert_array_equal(last["inputs"]["person"]["age"], AGE[[3, 4, 0]])
    with Loader(data, Views(), 2, prefetch=2) as ahead:
        jax.tree.map(np.testing.assert_array_equal, ahead[1], batch)
    element = GrainSource(data)[3]
    assert element["inputs"]["image"].shape == (4, 4, 1) and element["labels"]["map"].shape == (
        4,
        4,
    )
    assert Views().render(batch)["inputs"]["image"].shape == (2, 4, 4, 1)


def test_contents_of_dictionaries_are_named_by_all_of_their_arrays():
    data, inputs = _everything(), {"image": IMAGE, "person": {"age": AGE}}
    other = _everything(inputs={"image": IMAGE, "person": {"age": AGE + (AGE == 3)}})
    renamed = _everything(inputs={"image": IMAGE, "age": AGE})
    turned = _everything(inputs=dict(reversed(inputs.items())))
    assert turned.fingerprint == data.fingerprint
    assert len({data.fingerprint, other.fingerprint, renamed.fingerprint}) == 3
    ids = data.ids
    assert (data.example_digests(ids) == other.example_digests(ids)).tolist() == [
        *(True, True, True, False, True)
    ]
    assert (turned.example_digests(ids) == data.example_digests(ids)).all()
    assert (renamed.example_digests(ids) != data.example_digests(ids)).all()


def test_what_needs_classes_says_so_and_how_to_choose_them():
    data = _everything()
    with pytest.raises(ValueError, match=r"split_labels needs one class.*\(…, labels='color'\)"):
        split_labels(data, 1, seed=0)
    with pytest.raises(ValueError, match=r"TopK needs one class.*labels\['color'\]"):
        class_ids(data, "TopK")
    color = dataclasses.replace(
        data, labels=data.labels["color"], num_classes=data.num_classes["color"], class_names=()
    )
    with pytest.raises(ValueError, match="Class 2 of a train has 0 labeled"):
        split_labels(color, 1, seed=0)
    maps = Dataset.from_arrays(IMAGE, MAPS, num_classes=3, **NAMED)
    with pytest.raises(ValueError, match=r"a has labels 5 labeled by int32\[4, 4\] of 3 classes"):
        split_labels(maps, 1, seed=0)


def test_files_have_labels_of_every_kind_too():
    images = EncodedImages.from_source(
        photos(2, 0),
        {"tags": [[0, 1], [1, 9]], "age": [3.5, np.nan]},
        crop=CenterCrop(8),
        num_classes={"tags": 2},
        ignore_label=9,
        ids=[5, 3],
        **NAMED,
    )
    assert images.labels["tags"].tolist() == [[1, -1], [0, 1]] and images.labels["age"][1] == 3.5
    assert "2 labeled by age float32[], tags int32[2] of 2 classes" in repr(images)
    batch = Loader(images.select([5]), Views(), 1)[0]
    assert batch["labels"]["tags"].tolist() == [[0, 1]] and batch["labeled"]["age"].tolist() == [
        True
    ]


def test_rows_of_tokens_have_labels_of_every_kind_too():
    tokens, named = np.ones((2, 3), int), {"vocab_size": 9, "tokenizer": "t", **NAMED}
    spam = Sequences.from_arrays(tokens, labels=[[1], [0]], num_classes=1, **named)
    assert not spam.of_tokens and "2 labeled by int32[1] of 1 classes" in repr(spam)
    batch = Loader(spam, Views(), 2)[0]
    assert "where" not in batch and sorted(batch["labels"].ravel()) == [0, 1]
    score = Sequences.from_arrays(tokens, labels=[0.5, np.nan], ids=[4, 2], **named)
    assert score.labels[1] == 0.5 and score.num_classes is None
    assert np.isnan(score.with_labels([2]).labels).all()
    both = {"topic": [1, 0], "score": [0.5, 1.5]}
    sets = Sequences.from_arrays(tokens, labels=both, num_classes={"topic": 2}, **named).select([1])
    assert sets.labels["topic"].tolist() == [0] and sets.num_classes["score"] is None
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        Sequences.from_arrays(tokens, labels=tokens * 1.0, **named)
