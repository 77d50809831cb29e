import operator
import pickle

import numpy as np
import pytest

from jaxkd.data import Dataset, Loader, from_sequence
from jaxkd.views import Views

N = 6
IMAGES = np.arange(N * 12, dtype=np.uint8).reshape(N, 2, 2, 3)


class Pairs:
    """As of PyTorch: a length, and pairs by position."""

    def __init__(self, n=N):
        self.read, self.n = [], n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.read.append(index)
        return IMAGES[index], index % 3


def make(sequence, labels=None, **options):
    return from_sequence(sequence, labels, **({"name": "a", "split": "train"} | options))


def test_items_are_read_when_a_batch_has_them():
    pairs = Pairs()
    data = make(pairs, [0, 1, 2, 0, 1, 2], num_classes=3)
    assert set(pairs.read) == {0}  # for shape and dtype
    np.testing.assert_array_equal(data.read([4, 2, 4]), IMAGES[[4, 2, 4]])
    assert set(pairs.read) == {0, 2, 4}
    assert data.shape == (2, 2, 3)
    assert repr(data) == (
        "SequenceExamples('a' 1, split 'train': 6 examples uint8[2, 2, 3], 6 labeled, 3 classes)"
    )
    assert np.array_equal(make(Pairs(), num_classes=3).labels, data.labels)
    with pytest.raises(KeyError, match="ids are not in a train"):
        data.read([6])


def test_it_behaves_as_the_same_data_in_memory():
    data = make(Pairs(), num_classes=3, ids=[50, 40, 30, 20, 10, 0])
    memory = Dataset.from_arrays(
        IMAGES, np.arange(N) % 3, name="a", split="train", num_classes=3, ids=data.ids[::-1]
    )
    for step in range(3):
        one, other = (Loader(each, Views(), 4)[step] for each in (data, memory))
        assert all(np.array_equal(one[name], other[name]) for name in other)
    copy = pickle.loads(pickle.dumps(data.select([30, 10])))
    np.testing.assert_array_equal(copy.read([30]), IMAGES[[2]])
    assert copy.fingerprint == data.fingerprint != make(Pairs(), num_classes=3).fingerprint
    grown = make(IMAGES, ids=[50, 40, 30, 20, 10, 0])
    assert np.array_equal(grown.example_digests([30, 0]), data.example_digests([30, 0]))
    assert make(IMAGES, fingerprint="mine").fingerprint == "mine"


def test_texts_are_ids_that_stay():
    names = [f"scan {number}" for number in range(N)]
    before, after = make(IMAGES[:4], ids=names[:4]), make(IMAGES[::-1], ids=names[::-1])
    assert set(before.ids) < set(after.ids)
    np.testing.assert_array_equal(before.read(before.ids), after.read(before.ids))


def test_dictionaries_and_functions_of_items():
    rows = [{"image": IMAGES[place], "age": float(place), "y": place % 2} for place in range(N)]
    with pytest.raises(TypeError, match=r"of image, age, y: .*operator.itemgetter\('image'\)"):
        make(rows)
    data = make(rows, [row["age"] for row in rows], inputs=operator.itemgetter("image"))
    assert data.labels.dtype == np.float32 and data.num_classes is None
    both = make(rows, inputs=lambda row: {"image": row["image"], "age": row["age"]})
    batch = both.read([3, 1])
    np.testing.assert_array_equal(batch["image"], IMAGES[[3, 1]])
    assert batch["age"].tolist() == [3.0, 1.0] and both.shape == {"image": (2, 2, 3), "age": ()}


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match="generator has not: list"):
        make(one for one in IMAGES)
    with pytest.raises(ValueError, match="sequence of a train is empty"):
        make([])
    with pytest.raises(TypeError, match="inputs of an item are str and no array"):
        make(["text"])
    ragged = make([IMAGES[0], IMAGES[0][:1]])
    with pytest.raises(
        ValueError, match=r"id 1 .*uint8\[1, 2, 3\], the first one is uint8\[2, 2, 3"
    ):
        ragged.read([1])
    with pytest.raises(ValueError, match=r"id 0 .*\(position 0\) cannot be read: .*range"):
        shrunk = Pairs()
        data = make(shrunk, num_classes=3)
        shrunk.__class__ = type("Broken", (), {"__getitem__": _broken})
        data.read([0])
    noise = np.random.default_rng(0)

    class Random(Pairs):
        def __getitem__(self, index):
            return noise.normal(size=3), 0

    with pytest.raises(ValueError, match="another one when it is read again: .* Views"):
        make(Random(), num_classes=1)
    with pytest.raises(ValueError, match="fingerprint is empty"):
        make(IMAGES, fingerprint="")


def _broken(self, index):
    raise IndexError("out of range")


def test_a_dataset_of_pytorch():
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.arange(N) % 3)
    data = make(tensors, num_classes=3)
    np.testing.assert_array_equal(data.read(data.ids), IMAGES)
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
