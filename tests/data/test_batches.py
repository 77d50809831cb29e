"""Numbers that are not integers, or out of range, at every entrance of the data."""

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
    Texts,
    raw_batch,
    split_labels,
)
from jaxkd.views import Views

DATA = Dataset.from_arrays(
    np.zeros((4, 2), np.float32), [0, 1, 0, 1], name="four", split="train", num_classes=2
)
NAMED = {"name": "a", "split": "train"}
ZEROS = np.zeros(2, np.int32)


def _photos():
    return EncodedImages.from_source(photos(2, 0), crop=CenterCrop(8), num_classes=2, **NAMED)


REFUSED = {
    "half a view": (lambda: raw_batch(DATA, Views(), ZEROS, ZEROS + 0.5), "view must be integers"),
    "a bool as view": (lambda: raw_batch(DATA, Views(), ZEROS, ZEROS > 0), "view must be integers"),
    "a view below zero": (lambda: raw_batch(DATA, Views(), ZEROS, ZEROS - 1), "got -1 to -1"),
    "a large view": (
        lambda: raw_batch(DATA, Views(), ZEROS, np.full(2, 2**32 + 1)),
        "got 4294967297 to 4294967297",
    ),
    "ids that are floats": (
        lambda: raw_batch(DATA, Views(), ZEROS + 1.7, ZEROS),
        "ids must be integers, got dtype float64",
    ),
    "a large id": (
        lambda: raw_batch(DATA, Views(), np.full(2, 2**32 + 1), ZEROS),
        "2 of 2 ids are not in four train",
    ),
    "a large unsigned id": (
        lambda: raw_batch(DATA, Views(), np.full(2, 2**63 + 1, np.uint64), ZEROS),
        "2 of 2 ids are not in four train",
    ),
    "half a view of files": (lambda: _photos().read([0], 0.5), "view must be integers"),
    "half an element": (lambda: GrainSource(DATA)[0.5], "indices must be integers"),
    "half a step": (lambda: Loader(DATA, Views(), 2)[0.5], "step must be an integer, not 0.5"),
    "a step below zero": (lambda: Loader(DATA, Views(), 2)[-1], "step must be at least 0, not -1"),
    "half an example": (lambda: Loader(DATA, Views(), 2.5), "batch_size must be an integer"),
    "half of the views": (
        lambda: Loader(DATA, Views(), 2, num_views=1.5),
        "num_views must be an integer",
    ),
    "half a class": (
        lambda: Dataset.from_arrays([[1]], num_classes=2.5, **NAMED),
        "num_classes must be an integer, not 2.5",
    ),
    "names in one text": (
        lambda: Dataset.from_arrays([[1]], num_classes=2, class_names="ab", **NAMED),
        "class_names must be one text for each class, got 'ab'",
    ),
    "names that are numbers": (
        lambda: Dataset.from_arrays([[1]], num_classes=2, class_names=(0, 1), **NAMED),
        "class_names must be one text for each class",
    ),
    "half a label": (lambda: split_labels(DATA, 1.5, 0), "per_class must be an integer"),
    "half a token": (
        lambda: Sequences.from_arrays([[1, 2]], vocab_size=3.5, tokenizer="t", **NAMED),
        "vocab_size must be an integer",
    ),
    "a fingerprint that is empty": (
        lambda: EncodedImages.from_source(
            photos(1, 0), crop=CenterCrop(8), num_classes=2, fingerprint="", **NAMED
        ),
        "fingerprint is empty",
    ),
    "ids for a mask": (
        lambda: Texts.from_texts(["a", "b"], **NAMED).where([0, 1]),
        r"chosen must be a mask, bool\[2\], got int64",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_numbers_that_would_be_cut_or_wrapped_are_refused(case):
    use, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError, KeyError), match=message):
        use()


def test_integers_of_every_kind_are_taken():
    batch = raw_batch(DATA, Views(), np.array([3, 0], np.uint8), np.array([1, 1], np.uint64))
    assert batch["id"].tolist() == [3, 0] and batch["view"].tolist() == [1, 1]
    assert batch["id"].dtype == batch["view"].dtype == np.int32
    assert len(Loader(DATA, Views(), np.int64(2))[np.int32(1)]["id"]) == 2
    # True is no number of examples, though Python counts with it.
    with pytest.raises(TypeError, match="batch_size must be an integer, not True"):
        Loader(DATA, Views(), True)


def test_a_loader_refuses_seeds_at_once(images):
    with pytest.raises(ValueError, match="the seed of a loader must be an integer from 0 on"):
        Loader(images, Views(), 2, seed=-1)
    with pytest.raises(TypeError, match="seed must be an integer, not 1.5"):
        Loader(images, Views(), 2, seed=1.5)
