import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd.data import Dataset, split_labels

_UNIQUE_IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30, unique=True)


def _dataset(ids, labels=None, **changes):
    """A dataset whose every row is its own id, so that a mix-up of rows shows."""
    ids = np.asarray(ids, np.int64)
    inputs = np.stack([ids, ids // 2], axis=1)
    keywords = {"name": "numbers", "split": "train", "num_classes": 4, "ids": ids} | changes
    return Dataset.from_arrays(inputs, ids % 4 if labels is None else labels, **keywords)


@given(ids=_UNIQUE_IDS, data=st.data())
def test_order_of_rows_changes_nothing(ids, data):
    one = _dataset(ids)
    other = _dataset(data.draw(st.permutations(ids)))
    for field in ("ids", "inputs", "labels"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.fingerprint == other.fingerprint
    assert one.ids.dtype == np.int32 and one.labels.dtype == np.int32
    assert one.ids.tolist() == sorted(ids)
    np.testing.assert_array_equal(one.inputs[:, 0], one.ids)
    np.testing.assert_array_equal(one.labels, one.ids % 4)


@given(ids=_UNIQUE_IDS, data=st.data())
def test_rows_find_ids(ids, data):
    dataset = _dataset(ids)
    wanted = data.draw(st.lists(st.sampled_from(ids), max_size=40))
    np.testing.assert_array_equal(dataset.ids[dataset.rows(wanted)], wanted)


@given(ids=_UNIQUE_IDS, stranger=st.integers(-5, 2**31 + 5))
def test_rows_refuse_every_other_id(ids, stranger):
    dataset = _dataset(ids)
    if stranger in ids:
        assert dataset.ids[dataset.rows(stranger)] == stranger
    else:
        with pytest.raises(KeyError, match="1 of 2 ids are not in numbers train"):
            dataset.rows([ids[0], stranger])


@pytest.mark.parametrize("ids", [range(6), [1, 5, 9, 12, 14, 20]], ids=["consecutive", "sparse"])
def test_rows_keep_shape_and_list_what_is_missing(ids):
    dataset = _dataset(ids)
    square = dataset.ids[[[5, 0], [0, 2]]]
    np.testing.assert_array_equal(dataset.rows(square), [[5, 0], [0, 2]])
    assert dataset.rows([]).shape == (0,)
    with pytest.raises(KeyError, match=r"6 of 7 ids .*6 examples.*: 21, 22, 23, 24, 25, …"):
        dataset.rows([dataset.ids[3], *range(21, 27)])
    with pytest.raises(TypeError, match="ids must be integers, got dtype bool"):
        dataset.rows(np.ones(6, bool))


def test_default_ids_count_the_rows():
    dataset = Dataset.from_arrays(np.zeros((3, 2)), name="a", split="train", num_classes=2)
    assert dataset.ids.tolist() == [0, 1, 2]
    assert dataset.labels.tolist() == [-1, -1, -1]
    assert len(dataset) == 3


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">i2", "u1"])
def test_the_order_of_bytes_is_that_of_the_machine(dtype):
    rows = np.arange(6).reshape(3, 2)
    one, two = (
        Dataset.from_arrays(rows.astype(kind), name="a", split="train", num_classes=2)
        for kind in (dtype, np.dtype(dtype).newbyteorder("="))
    )
    assert one.inputs.dtype.isnative and one.fingerprint == two.fingerprint
    np.testing.assert_array_equal(one.inputs, rows)


def test_fingerprint_is_pinned():
    # A change of these two would orphan every cache on disk.
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
    kwargs = {"name": "a", "split": "train", "num_classes": 2}
    assert Dataset.from_arrays(images, ids=[7, 3], **kwargs).fingerprint == PINNED_UINT8
    floats = images.astype(np.float32)
    assert Dataset.from_arrays(floats, ids=[7, 3], **kwargs).fingerprint == PINNED_FLOAT32


def test_fingerprint_depends_on_content_alone():
    base = _dataset(range(8))
    same = [
        _dataset(range(8), labels=np.zeros(8, int)),
        _dataset(range(8), name="other", version="2", split="test", num_classes=9),
        base.with_labels([0]),
        dataclasses.replace(base, split="other"),
    ]
    assert {dataset.fingerprint for dataset in same} == {base.fingerprint}

    def made(inputs, ids=range(8)):
        kwargs = {"name": "numbers", "split": "train", "num_classes": 4}
        return Dataset.from_arrays(inputs, ids=list(ids), **kwargs).fingerprint

    changed = base.inputs.copy()
    changed[3, 1] += 1
    different = [
        made(changed),
        made(base.inputs.astype(np.int32)),
        made(base.inputs.view(np.uint64)),
        made(base.inputs.reshape(8, 2, 1)),
        made(base.inputs, ids=range(1, 9)),
        made(base.inputs[:7], ids=range(7)),
    ]
    assert made(base.inputs) == base.fingerprint
    assert len({base.fingerprint, *different}) == 7


def test_fingerprint_is_the_same_on_every_machine():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.arange(6.0).reshape(3, 2)

    def made(inputs):
        return Dataset.from_arrays(inputs, name="a", split="b", num_classes=1).fingerprint

    assert made(values.astype(">f8")) == made(values.astype("<f8"))
    assert made(np.asfortranarray(values)) == made(values)
    assert made(values.astype(ml_dtypes.bfloat16)) != made(values.astype(np.float16))


def test_select_takes_rows_and_keeps_the_source():
    dataset = _dataset([4, 8, 15, 16, 23, 42])
    part = dataset.select([42, 8, 15])
    assert part.ids.tolist() == part.inputs[:, 0].tolist() == [8, 15, 42]
    assert part.labels.tolist() == [0, 3, 2]
    assert (part.name, part.split, part.num_classes) == ("numbers", "train", 4)
    assert part.fingerprint == dataset.fingerprint
    assert part.select([42]).fingerprint == dataset.fingerprint
    assert part.with_labels([8]).fingerprint == dataset.fingerprint
    assert part.fingerprint != _dataset([8, 15, 42]).fingerprint
    assert len(dataset.select([])) == 0
    with pytest.raises(KeyError, match="1 of 1 ids are not in numbers train"):
        part.rows([4])
    with pytest.raises(KeyError, match=r"0 examples\): 4"):
        dataset.select([]).rows([4])
    with pytest.raises(KeyError, match="1 of 2 ids"):
        dataset.select([4, 5])
    with pytest.raises(ValueError, match="Every id must be unique; 1 of 3 do not fit: 8"):
        dataset.select([8, 4, 8])


def test_reading_is_by_id_and_the_same_in_every_view():
    dataset = _dataset([4, 8, 15])
    assert dataset.shape == (2,) and dataset.read_specification() is None
    read = dataset.read([15, 4, 15], [0, 3, 1])
    assert read[:, 0].tolist() == [15, 4, 15]
    read[:] = 0  # a copy
    assert dataset.inputs[:, 0].tolist() == [4, 8, 15]
    with pytest.raises(KeyError, match="1 of 1 ids"):
        dataset.read([5])


def test_with_labels_keeps_the_pool():
    dataset = _dataset([4, 9, 15, 18], labels=[0, 1, 3, -1])
    few = dataset.with_labels([15, 4, 18])
    assert few.labels.tolist() == [0, -1, 3, -1]
    np.testing.assert_array_equal(few.inputs, dataset.inputs)
    assert dataset.labels.tolist() == [0, 1, 3, -1]
    assert dataset.with_labels([]).labels.tolist() == [-1] * 4
    with pytest.raises(KeyError, match="1 of 1 ids"):
        dataset.with_labels([5])


def test_arrays_are_read_only_but_the_callers_are_not():
    inputs, ids = np.zeros((2, 3)), np.array([0, 1])
    dataset = Dataset.from_arrays(inputs, ids=ids, name="a", split="train", num_classes=2)
    for array in (dataset.inputs, dataset.ids, dataset.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    inputs[0], ids[0] = 1, 5
    assert dataset.ids.tolist() == [0, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.split = "test"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"ids": [1, 2]}, ValueError, r"ids must have shape \(3,\).* got \(2,\)"),
        ({"ids": [[1], [2], [3]]}, ValueError, r"ids must have shape \(3,\).* got \(3, 1\)"),
        ({"labels": [0]}, ValueError, r"labels must have shape \(3,\).* got \(1,\)"),
        ({"ids": [3, 1, 3]}, ValueError, "unique; 1 of 3 do not fit: 3"),
        ({"ids": [0, -7, 1]}, ValueError, r"\[0, 2147483647\]; 1 of 3 do not fit: -7"),
        ({"ids": [0, 2**31, 1]}, ValueError, "1 of 3 do not fit: 2147483648"),
        ({"ids": [0.0, 1.0, 2.0]}, TypeError, "ids must be integers, got dtype float64"),
        ({"labels": [0.0, 1.0, 0.0]}, TypeError, "labels must be integers, got dtype float64"),
        ({"labels": [True, False, True]}, TypeError, "labels must be integers, got dtype bool"),
        (
            {"labels": [0, 1, 2], "ids": [30, 10, 20]},
            ValueError,
            r"1 of 3 labels .*: label 2 of example id 20; labels must be in \[0, 2\)",
        ),
        ({"labels": [0, -2, 1]}, ValueError, "label -2 of example id 1;"),
        ({"labels": np.array([0, 200, 1], np.uint8)}, ValueError, "label 200 of example id 1;"),
        ({"inputs": np.array([[1], [2, 3], []], object)}, TypeError, "got dtype object"),
        ({"inputs": 3.0}, ValueError, "got a scalar"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"class_names": ("a",)}, ValueError, "Got 1 class_names for 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    arguments = {"inputs": np.zeros((3, 2)), "name": "a", "split": "train", "num_classes": 2}
    assert len(Dataset.from_arrays(**arguments)) == 3
    with pytest.raises(error, match=message):
        Dataset.from_arrays(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": np.array([2, 1], np.int32)},
        {"ids": np.array([1, 1], np.int32)},
        {"ids": np.array([1, 2])},
        {"labels": np.zeros(3, np.int32)},
    ],
)
def test_unsorted_or_uneven_fields_are_refused(changes):
    with pytest.raises(ValueError, match="build it with Dataset.from_arrays"):
        dataclasses.replace(_dataset([1, 2]), **changes)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), per_class=st.integers(1, 5))
def test_split_labels_balances_and_nests(seed, per_class):
    dataset = _dataset(np.arange(40) * 3)
    ids = split_labels(dataset, per_class, seed)
    assert ids.dtype == np.int32
    assert ids.tolist() == sorted(set(ids.tolist()))
    counts = np.bincount(dataset.labels[dataset.rows(ids)], minlength=4)
    assert counts.tolist() == [per_class] * 4
    assert set(ids) <= set(split_labels(dataset, per_class + 1, seed))


def test_labels_are_split_by_one_of_several_sets():
    labels = {"digit": np.arange(12) % 3, "box": np.zeros((12, 4))}
    data = Dataset.from_arrays(
        np.zeros((12, 1)), labels, name="d", split="s", num_classes={"digit": 3}
    )
    one = Dataset.from_arrays(
        np.zeros((12, 1)), labels["digit"], name="d", split="s", num_classes=3
    )
    ids = split_labels(data, 2, seed=0, labels="digit")
    np.testing.assert_array_equal(ids, split_labels(one, 2, seed=0))
    for chosen, name, message in (
        (data, None, r"Choose one set: split_labels\(…, labels='digit'\)"),
        (data, "box", "needs one class for each example"),
        (data, "color", r"has no labels 'color', but \['box', 'digit'\]"),
        (one, "digit", "has no labels 'digit', but one set without a name"),
    ):
        with pytest.raises(ValueError, match=message):
            split_labels(chosen, 2, 0, labels=name)


def test_split_labels_depends_on_the_seed_alone():
    dataset = _dataset(np.arange(40))
    backwards = _dataset(np.arange(40)[::-1])
    ids = split_labels(dataset, 3, seed=0)
    assert ids.tolist() == PINNED_SPLIT
    np.testing.assert_array_equal(ids, split_labels(backwards, 3, seed=0))
    assert ids.tolist() != split_labels(dataset, 3, seed=1).tolist()


def test_split_labels_never_takes_the_unlabeled():
    labels = np.full(40, -1)
    labels[[3, 5, 20, 21, 30]] = [0, 1, 2, 3, 3]
    dataset = _dataset(np.arange(40), labels=labels)
    assert set(split_labels(dataset, 1, seed=0)) <= {3, 5, 20, 21, 30}
    with pytest.raises(ValueError, match="Class 0 of numbers train has 1 labeled examples.*=2"):
        split_labels(dataset, 2, seed=0)
    with pytest.raises(ValueError, match="per_class must be at least 1, got 0"):
        split_labels(dataset, 0, seed=0)


PINNED_UINT8 = "sha256:13f48ca4aff457eb8573665692dca70c1b1712035263d45064f3481ee6ce0599"
PINNED_FLOAT32 = "sha256:036e1330e2483bc59b7a21574ee78ae902266f8e3cf8dd8d2519220d657c59e8"
PINNED_SPLIT = [1, 2, 3, 11, 13, 15, 18, 20, 21, 32, 34, 36]
