"""The handwritten digits that scikit-learn carries: 1,797 images of 8x8, no download.

Example:
  >>> from jaxkd.data import digits
  >>> digits.load("train")
  Dataset('digits' 1, split 'train': 1437 examples uint8[8, 8, 1], 1437 labeled, 10 classes)

References:
  E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
  Repository, 1998 (its test set, which scikit-learn carries as `load_digits`).
"""

from typing import Literal

import numpy as np

from jaxkd.data._dataset import Dataset


def load(split: Literal["train", "test"], *, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """Loads one split of the digits.

    The inputs are uint8 `[n, 8, 8, 1]`: scikit-learn's 17 gray levels 0..16, spread over 0..255
    like those of any other image. The example ids are row numbers in scikit-learn's array. Both
    splits are subsets of one source and share its fingerprint, so a teacher's output stays valid
    for its image whatever the split.

    Args:
      split: `"train"` or `"test"`.
      test_fraction: fraction of every class that goes to the test split, in (0, 1).
      seed: seed of the stratified split.

    Returns:
      The dataset, with all labels.

    Raises:
      ImportError: if scikit-learn is not installed.
      ValueError: if the split is unknown, or the fraction is not in (0, 1).

    Example:
      >>> train, test = load("train"), load("test", test_fraction=0.2)
      >>> len(train), len(test), train.shape, train.fingerprint == test.fingerprint
      (1437, 360, (8, 8, 1), True)
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be in (0, 1), got {test_fraction}")
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            'The digits come with scikit-learn: pip install "jaxkd-distill[experiments]"'
        ) from error

    digits = load_digits()
    everything = Dataset.from_arrays(
        np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8),
        digits.target,
        name="digits",
        split="all",
        num_classes=10,
        class_names=tuple(str(digit) for digit in range(10)),
    )
    train_ids, test_ids = train_test_split(
        everything.ids,
        test_size=test_fraction,
        stratify=everything.labels,
        random_state=seed,
    )
    subset = everything.select(train_ids if split == "train" else test_ids)
    return subset.with_split(split)
