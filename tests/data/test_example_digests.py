import dataclasses
import functools
import time
from typing import Any

import numpy as np
import pytest
from prepared import photos

from jaxkd.data import CenterCrop, Dataset, EncodedImages, Examples, Sequences, Texts, Tokenizer
from jaxkd.data import pack as pack_rows


def _arrays(rows, **changes):
    return Dataset.from_arrays(rows, **{"name": "a", "split": "train", "num_classes": 3} | changes)


@dataclasses.dataclass(frozen=True, eq=False)
class _Own(Examples):
    """A class of a user's own: floats that are made when they are read."""

    numbers: Any
    name: str = "own"
    version: str = "1"
    split: str = "train"
    num_classes: int = 2
    class_names: tuple[str, ...] = ()

    @functools.cached_property
    def ids(self):
        return np.arange(len(self.numbers), dtype=np.int32)

    @property
    def labels(self):
        return np.zeros(len(self.numbers), np.int32)

    @property
    def fingerprint(self):
        return f"own {self.numbers}"

    @property
    def shape(self):
        return (2,)

    def read(self, ids, view=0):
        return np.asarray(self.numbers, np.float32)[self.rows(ids), None] + [0, 1]


def _photos(files, **changes):
    named = {"crop": CenterCrop(8), "name": "p", "split": "train", "num_classes": 2}
    return EncodedImages.from_source(files, **named | changes)


def _rows(documents, **changes):
    named = {"name": "r", "split": "train", "vocab_size": 99, "tokenizer": "t"} | changes
    return Sequences.from_packed(pack_rows(documents, 4), **named)


def _texts(texts):
    return Texts.from_texts(texts, name="t", split="train").padded(Tokenizer.bytes(), 8)


_FILES = photos(4, 0)
_OTHER = photos(1, 1)[0]
_KINDS = {
    # Kind → three examples, and the same with the middle one changed and a fourth one.
    "arrays": (_arrays, [[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 9], [5, 6], [7, 8]]),
    "files": (_photos, _FILES[:3], [_FILES[0], _OTHER, *_FILES[2:]]),
    "files named": (
        functools.partial(_photos, fingerprint="given"),
        _FILES[:3],
        [_FILES[0], _OTHER, *_FILES[2:]],
    ),
    "packed": (_rows, [[1] * 4, [2] * 4, [3] * 4], [[1] * 4, [9] * 4, [3] * 4, [4] * 4]),
    "texts": (_texts, ["a", "b", "c"], ["a", "x", "c", "d"]),
    "own class": (_Own, [1.0, 2.0, 3.0], [1.0, 9.0, 3.0, 4.0]),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_digests_follow_each_example_through_growth_order_and_selection(kind):
    make, before, after = _KINDS[kind]
    one, grown = make(before), make(after)
    digests = one.example_digests([0, 1, 2])
    assert digests.dtype == np.uint64 and len(set(digests.tolist())) == 3
    np.testing.assert_array_equal(digests == grown.example_digests([0, 1, 2]), [True, False, True])
    np.testing.assert_array_equal(one.example_digests([2, 0, 2]), digests[[2, 0, 2]])
    assert one.example_digests([]).shape == (0,)
    if kind != "own class":
        np.testing.assert_array_equal(one.select([2, 1]).example_digests([1, 2]), digests[1:])
        np.testing.assert_array_equal(one.with_split("s").example_digests([0, 1, 2]), digests)
    with pytest.raises(KeyError, match="1 of 1 ids are not in"):
        one.example_digests([7])


@pytest.mark.parametrize(
    "other",
    [
        np.array([[1.0, 0.0]], np.float32).view(np.int32),
        np.array([[[1.0], [0.0]]], np.float32),
        np.array([[1.0, -0.0]], np.float32),
        np.array([[1.0, 0.0]], np.float64),
    ],
    ids=["dtype", "shape", "negative zero", "precision"],
)
def test_digests_differ_by_dtype_shape_and_bits(other):
    plain = _arrays(np.array([[1.0, 0.0]], np.float32))
    assert plain.example_digests([0]) != _arrays(other).example_digests([0])
    assert plain.fingerprint != _arrays(other).fingerprint


def test_fields_of_records_are_part_of_their_names():
    rows = np.arange(8, dtype=np.int16).reshape(-1, 4)
    one, other = (_arrays(rows.view(kind)[:, 0]) for kind in ("<i4,<i2,<i2", "<i2,<i2,<i4"))
    assert one.fingerprint != other.fingerprint
    assert (one.example_digests([0, 1]) != other.example_digests([0, 1])).all()


def test_digests_are_the_same_whatever_the_order_of_bytes_and_rows():
    rows = np.arange(6, dtype=np.int32).reshape(3, 2)
    digests = _arrays(rows).example_digests([0, 1, 2])
    np.testing.assert_array_equal(_arrays(rows.astype(">i4")).example_digests([0, 1, 2]), digests)
    turned = _arrays(rows[::-1], ids=[2, 1, 0])
    np.testing.assert_array_equal(turned.example_digests([0, 1, 2]), digests)
    # The same numbers in every year: caches on disk depend on them.
    assert digests.tolist() == [
        4340753102223998661,
        7971248107971782069,
        15549796113878273050,
    ]


def test_rows_without_bytes_and_offsets():
    assert len(set(_arrays(np.zeros((3, 0))).example_digests([0, 1, 2]).tolist())) == 1
    with_offsets = _rows([[1, 2, 3, 4]])
    shifted = dataclasses.replace(with_offsets, offsets=np.ones((1, 4, 2), np.int32))
    assert with_offsets.example_digests([0]) != shifted.example_digests([0])


def test_a_small_image_data_set_is_hashed_in_a_fraction_of_a_second():
    images = _arrays(np.zeros((60_000, 784), np.uint8))
    start = time.perf_counter()
    assert len(images.example_digests(images.ids)) == 60_000
    assert time.perf_counter() - start < 2  # about 0.1 on an idle processor
