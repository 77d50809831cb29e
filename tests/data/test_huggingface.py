import itertools
import pickle
import sys

import numpy as np
import pytest
from prepared import photos

from jaxkd import data
from jaxkd.data import CenterCrop, EncodedImages

pytest.importorskip("PIL")
N = 10
FILES = photos(N, 0)
NAMES = ["cat", "dog", "owl"]
LABELS = [place % 3 for place in range(N - 1)] + [-1]


class Image:
    """Features of the fake below have the names of the real ones."""

    def __init__(self, decode=True):
        self.decode = decode


class ClassLabel:
    names = NAMES


class Value:
    pass


class Info:
    dataset_name, version = "pets", "1.2.0"


class Rows:
    """What is used of a `datasets.Dataset`."""

    split, info = "train", Info()

    def __init__(self, columns, features=None):
        self.columns = columns
        self.features = features or {name: Value() for name in columns}

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index):
        return {name: column[index] for name, column in self.columns.items()}

    def select_columns(self, names):
        return type(self)(
            {name: self.columns[name] for name in names},
            {name: self.features[name] for name in names},
        )

    def with_format(self, kind):
        columns = self.columns
        if kind == "numpy":
            columns = {name: np.array(column) for name, column in columns.items()}
        return type(self)(columns, self.features)

    def cast_column(self, name, feature):
        assert not feature.decode
        return type(self)(self.columns, self.features | {name: feature})


class IterableDataset:
    """What is used of a `datasets.IterableDataset`."""

    info = Info()

    def __init__(self, shards, features):
        self.shards, self.features = shards, features

    num_shards = property(lambda self: len(self.shards))

    def __iter__(self):
        return itertools.chain(*self.shards)

    def with_format(self, kind):
        return self

    def cast_column(self, name, feature):
        return IterableDataset(self.shards, self.features | {name: feature})

    def shard(self, num_shards, index):
        assert num_shards == len(self.shards)
        return IterableDataset(self.shards[index : index + 1], self.features)

    def skip(self, n):
        return IterableDataset([list(self)[n:]], self.features)


FEATURES = {"photo": Image(), "kind": ClassLabel(), "key": Value(), "age": Value()}


def columns():
    return {
        "photo": [{"bytes": file, "path": None} for file in FILES],
        "kind": LABELS,
        "key": [f"key {place}" for place in range(N)],
        "age": [float(place) for place in range(N)],
    }


@pytest.fixture(scope="module", params=["fake", "real"])
def rows(request):
    if request.param == "fake":
        return Rows(columns(), FEATURES)
    datasets = pytest.importorskip("datasets")
    if not hasattr(datasets, "Features"):
        pytest.skip("the package is not installed; a folder of this name is found")
    features = datasets.Features(
        photo=datasets.Image(),
        kind=datasets.ClassLabel(names=NAMES),
        key=datasets.Value("string"),
        age=datasets.Value("float32"),
    )
    return datasets.Dataset.from_dict(columns(), features, split="train")


def stream(rows):
    if not isinstance(rows, Rows):
        return rows.to_iterable_dataset(num_shards=3)
    listed = [rows[place] for place in range(N)]
    return IterableDataset([listed[:4], listed[4:7], listed[7:]], rows.features)


def test_images_and_classes_are_those_of_the_rows(rows):
    images = data.from_huggingface(rows, crop=CenterCrop(8), name="pets")
    assert (images.split, images.class_names) == ("train", tuple(NAMES))
    assert images.labels.tolist() == LABELS and images.ids.tolist() == list(range(N))
    plain = EncodedImages.from_source(
        FILES, LABELS, crop=CenterCrop(8), name="pets", split="train", num_classes=3
    )
    np.testing.assert_array_equal(images.read([7, 2]), plain.read([7, 2]))
    copy = pickle.loads(pickle.dumps(images.select([7])))
    np.testing.assert_array_equal(copy.read([7]), plain.read([7]))
    by_key = data.from_huggingface(rows, id="key", label="age", size=8)
    assert by_key.num_classes is None and by_key.labels.dtype == np.float32
    assert len(set(by_key.ids)) == N and by_key.labels.max() == N - 1
    several = data.from_huggingface(rows, label=["kind", "age"], size=8)
    assert several.num_classes == {"kind": 3, "age": None}
    assert several.class_names["kind"] == tuple(NAMES)


def test_columns_of_numbers(rows):
    ages = data.from_huggingface(rows, inputs="age", label="kind")
    assert ages.read([3, 1]).tolist() == [3.0, 1.0] and ages.num_classes == 3
    pickle.loads(pickle.dumps(ages))
    batch = data.from_huggingface(rows, inputs=["age", "kind"]).read([2])
    assert {name: array.tolist() for name, array in batch.items()} == {"age": [2.0], "kind": [2]}


def test_what_is_none_is_named(rows, monkeypatch):
    with pytest.raises(ValueError, match=r"no column 'image': .* photo \(Image\), kind"):
        data.from_huggingface(rows, image="image")
    with pytest.raises(ValueError, match="no column 'label': the data set has photo"):
        data.from_huggingface(rows, label="label")
    with pytest.raises(TypeError, match=r"several splits, train, test: .*dataset\['train'\]"):
        data.from_huggingface({"train": rows, "test": rows})
    with pytest.raises(TypeError, match="list is no data set .* data.from_sequence"):
        data.from_huggingface([1, 2])
    with pytest.raises(TypeError, match="is streamed.*data.stream_huggingface"):
        data.from_huggingface(stream(rows))
    with pytest.raises(TypeError, match="is not streamed: data.from_huggingface opens it"):
        data.stream_huggingface(rows, 2)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "jaxkd-distill\[huggingface\]"'):
        data.from_huggingface("beans", split="train")


def test_a_stream_has_ids_by_shard_and_goes_on_where_it_was(rows):
    stride = 2**31 // 3

    def start(**options):
        return data.stream_huggingface(stream(rows), 4, crop=CenterCrop(8), **options)

    batches = list(itertools.islice(start(seed=1), 5))
    ids = np.concatenate([batch["id"] for batch in batches])
    views = np.concatenate([batch["view"] for batch in batches])
    assert views.tolist() == [0] * N + [1] * N
    assert sorted(ids[:N]) == sorted(ids[N:]) and ids[:N].tolist() != ids[N:].tolist()
    lengths = np.bincount(ids[:N] // stride)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    position = starts[ids // stride] + ids % stride
    labels = np.concatenate([batch["labels"] for batch in batches])
    assert labels.tolist() == np.array(LABELS)[position].tolist() and labels.dtype == np.int32
    images = data.from_huggingface(rows, crop=CenterCrop(8))
    np.testing.assert_array_equal(batches[1]["inputs"], images.read(position[4:8]))
    # In the middle of a shard, at its end, and in the second epoch.
    for done in range(1, 4):
        before = start(seed=1)
        for _ in range(done):
            next(before)
        after = start(seed=1)
        after.load_state_dict(pickle.loads(pickle.dumps(before.state_dict())))
        np.testing.assert_array_equal(next(after)["id"], batches[done]["id"])
    # Processes read shards of their own.
    parts = [next(start(process=(index, 3)))["id"] // stride for index in range(3)]
    assert sorted(int(part[0]) for part in parts) == [0, 1, 2]
    with pytest.raises(ValueError, match="4 processes cannot share 3 shards"):
        start(process=(0, 4))


def test_a_stream_names_what_it_cannot_read():
    broken = [{"photo": {"bytes": b"no image", "path": None}, "kind": 0}]
    features = {name: FEATURES[name] for name in ("photo", "kind")}
    with pytest.raises(ValueError, match="example id 0 cannot be read"):
        next(data.stream_huggingface(IterableDataset([broken], features), 1))
    with pytest.raises(ValueError, match="the 1 shards of this process hold no row"):
        next(data.stream_huggingface(IterableDataset([[]], features), 1))
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        data.stream_huggingface(IterableDataset([broken], features), 0)
