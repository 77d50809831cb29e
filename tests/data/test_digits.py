import sys

import numpy as np
import pytest

from jaxkd.data import digits


def test_splits_are_stratified_and_cover_scikit_learns_array():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    train, test = digits.load("train"), digits.load("test")
    assert (train.split, test.split) == ("train", "test")
    assert sorted([*train.ids, *test.ids]) == list(range(1797))
    assert len(test) == 360
    counts = [np.bincount(dataset.labels, minlength=10) for dataset in (train, test)]
    np.testing.assert_allclose(counts[1] / (counts[0] + counts[1]), 0.2, atol=0.01)

    source = sklearn_datasets.load_digits()
    for dataset in (train, test):
        assert dataset.inputs.dtype == np.uint8
        assert dataset.inputs.shape == (len(dataset), 8, 8, 1)
        levels = np.round(dataset.inputs[..., 0] * (16 / 255))
        np.testing.assert_array_equal(levels, source.images[dataset.ids])
        np.testing.assert_array_equal(dataset.labels, source.target[dataset.ids])
    assert train.inputs.max() == 255


def test_both_splits_name_one_source():
    train, test = digits.load("train"), digits.load("test")
    other = digits.load("train", test_fraction=0.5, seed=7)
    assert train.fingerprint == test.fingerprint == other.fingerprint
    assert len(other) == 898
    both = np.intersect1d(train.ids, other.ids)
    np.testing.assert_array_equal(train.inputs[train.rows(both)], other.inputs[other.rows(both)])


def test_split_depends_on_its_seed_alone():
    one, again, other = digits.load("test"), digits.load("test"), digits.load("test", seed=1)
    assert one.ids.tolist() == again.ids.tolist() != other.ids.tolist()
    assert one.ids[:8].tolist() == [21, 24, 28, 34, 35, 37, 39, 42]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "validation"}, "split must be 'train' or 'test', got 'validation'"),
        ({"split": "test", "test_fraction": 1.0}, r"test_fraction must be in \(0, 1\), got 1.0"),
        ({"split": "test", "test_fraction": 0}, r"test_fraction must be in \(0, 1\), got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        digits.load(**arguments)


def test_missing_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "jaxkd-distill\[experiments\]"'):
        digits.load("train")
