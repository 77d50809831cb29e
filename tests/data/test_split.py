import numpy as np
import pytest

from jaxkd.data import Dataset, split

HALVES = {"one": 0.5, "two": 0.5}


def make(n, classes=4, labels=None):
    labels = np.arange(n) % classes if labels is None else labels
    ids = np.arange(n) * 7 + 3
    return Dataset.from_arrays(
        np.zeros((n, 1)), labels, ids=ids, name="a", split="all", num_classes=classes
    )


def test_parts_are_disjoint_complete_and_of_one_source():
    data = make(1000)
    parts = split(data, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=3)
    assert [len(part) for part in parts.values()] == [700, 200, 100]
    ids = np.concatenate([part.ids for part in parts.values()])
    assert np.array_equal(np.sort(ids), data.ids)
    assert {part.fingerprint for part in parts.values()} == {data.fingerprint}
    assert {part.split for part in parts.values()} == {"all"}
    for part in parts.values():
        assert np.ptp(np.bincount(part.labels)) <= 1
    again = split(data, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=3)
    other = split(data, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=4)
    assert np.array_equal(again["test"].ids, parts["test"].ids)
    assert not np.array_equal(other["test"].ids, parts["test"].ids)


def test_without_classes_nothing_ever_moves():
    data = make(3000)
    parts = split(data, {"train": 0.9, "validation": 0.1}, stratify=False)
    assert 250 < len(parts["validation"]) < 350
    fewer = data.select(data.ids[::3])
    part = split(fewer, {"train": 0.9, "validation": 0.1}, stratify=False)["validation"]
    assert np.array_equal(part.ids, np.intersect1d(fewer.ids, parts["validation"].ids))


def test_by_classes_few_move_when_the_data_grow():
    small, large = make(2000), make(2200)
    before, after = (split(data, {"t": 0.9, "v": 0.1})["v"].ids for data in (small, large))
    moved = np.setxor1d(before, np.intersect1d(after, small.ids))
    assert len(moved) <= 20


def test_many_small_classes_leave_their_share_to_a_small_part():
    parts = split(make(1500, classes=500), {"train": 0.9, "validation": 0.1})
    assert 120 < len(parts["validation"]) < 180


def test_what_belongs_together_stays_together():
    data = make(600)
    patients = np.array([f"patient {number}" for number in data.ids % 60])
    for stratify in (True, False):
        parts = split(data, HALVES, by=patients, stratify=stratify)
        one, two = (set(patients[data.rows(part.ids)]) for part in parts.values())
        assert one and two and not one & two
    # A group is of the class that most of its examples have.
    labels = np.where(np.arange(600) % 60 < 20, 1, 0)
    parts = split(make(600, labels=labels), HALVES, by=np.arange(600) % 60)
    assert [np.bincount(part.labels).tolist() for part in parts.values()] == [[200, 100]] * 2
    with pytest.raises(ValueError, match=r"one value for each of the 600 .* shape is \(3,\)"):
        split(data, HALVES, by=[1, 2, 3])


def test_what_cannot_be_divided_is_refused():
    data = make(8)
    with pytest.raises(ValueError, match="add up to 0.9: name a part for the rest"):
        split(data, {"train": 0.8, "validation": 0.1})
    with pytest.raises(ValueError, match="must be positive"):
        split(data, {"train": 1.1, "validation": -0.1})
    with pytest.raises(ValueError, match=r"parts must be \{.*not \[0.9, 0.1\]"):
        split(data, [0.9, 0.1])
    with pytest.raises(ValueError, match="'rest' of 0.001 would have none of the 8"):
        split(data, {"train": 0.999, "rest": 0.001})
    with pytest.raises(ValueError, match="must not be negative"):
        split(data, HALVES, seed=-1)
    unlabeled = make(50, labels=-np.ones(50, int))
    assert [len(part) for part in split(unlabeled, HALVES).values()] == [25, 25]
