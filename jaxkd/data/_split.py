"""Parts of a data set, the same whatever order its examples are in."""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jaxkd.data._examples import Examples, integer

_Dataset = TypeVar("_Dataset", bound=Examples)


def split(
    dataset: _Dataset,
    parts: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: bool | None = None,
    by: npt.ArrayLike | None = None,
) -> dict[str, _Dataset]:
    """Divides a data set at random, by the ids of its examples.

    Every id has a random number of its own, which depends on `seed` alone. Without classes, the
    part of an example is that in whose share of [0, 1) the number lies: it never moves, whatever is
    added or taken away. By classes, the examples of a class are divided in the order of their
    numbers, so that each part has its share of every class; then the few at the border of two parts
    may move when the class grows.

    Args:
      dataset: the data set.
      parts: name → share of the examples, which add up to 1.
      seed: seed of the numbers, not negative.
      stratify: whether every part has its share of every class. None: if each example has a class.
      by: what belongs together, one value an example in the order of `dataset.ids`: of a patient,
        a video or a photographer all examples come into one part.

    Returns:
      Name → the part, a selection that keeps the fingerprint of its source: a cache of the whole
      data set serves its parts. They keep its `split`, which that cache names, too;
      `part.with_split(name)` is for caches of their own.

    Raises:
      ValueError: shares that are not positive or do not add up to 1, a part without examples, a
        group for other examples than these, or classes where no example has one.

    Example:
      >>> from jaxkd.data import Dataset
      >>> data = Dataset.from_arrays(
      ...     np.zeros((100, 1)), np.arange(100) % 5, name="a", split="train", num_classes=5
      ... )
      >>> parts = split(data, {"train": 0.8, "validation": 0.2}, seed=1)
      >>> {name: np.bincount(part.labels).tolist() for name, part in parts.items()}
      {'train': [16, 16, 16, 16, 16], 'validation': [4, 4, 4, 4, 4]}
    """
    shares = _checked(parts)
    if integer(seed, "seed") < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
    classes = _classes(dataset, stratify)
    units, sizes = _units(dataset, by)
    if by is None:
        numbers = _mix(dataset.ids.astype(np.uint64), seed)
    else:
        groups = np.unique(np.asarray(by))
        numbers = _mix(np.array([_hash(group) for group in groups.tolist()], np.uint64), seed)
    if classes is None:
        places = numbers.astype(np.float64) / 2.0**64
    else:
        places = _places(numbers, sizes, _most_frequent(classes, units, len(sizes)), seed)
    borders = np.cumsum(shares)[:-1]
    part_of = np.searchsorted(borders, places, side="right")[units]
    found = {}
    for number, name in enumerate(parts):
        found[name] = dataset.select(dataset.ids[part_of == number])
        if not len(found[name]):
            raise ValueError(
                f"the part {name!r} of {shares[number]:.3g} would have none of the {len(dataset)} "
                f"examples ({len(sizes)} groups): give it a larger share, or another seed"
            )
    return found


def _checked(parts: Mapping[str, float]) -> npt.NDArray[np.float64]:
    if not isinstance(parts, Mapping) or not parts:
        raise ValueError(f'parts must be {{"train": 0.9, "validation": 0.1}}, not {parts!r}')
    shares = np.array(list(parts.values()), np.float64)
    if not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"shares must be positive and add up to 1, and {dict(parts)} add up to "
            f"{shares.sum():.6g}: name a part for the rest"
        )
    return shares


def _classes(dataset: Examples, stratify: bool | None) -> np.ndarray | None:
    labels = dataset.labels
    single = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"
    if stratify and not single:
        raise ValueError(
            f"the labels of {dataset.name} are not one class for each example: write stratify=False"
        )
    return labels if single and stratify is not False else None


def _units(dataset: Examples, by: npt.ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Number of what each example moves with, and how many examples each of these has."""
    n = len(dataset)
    if by is None:
        return np.arange(n), np.ones(n, np.int64)
    groups = np.asarray(by)
    if groups.shape != (n,):
        raise ValueError(
            f"by must have one value for each of the {n} examples, in the order of dataset.ids; "
            f"its shape is {groups.shape}"
        )
    _, units, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return units, sizes


def _most_frequent(classes: np.ndarray, units: np.ndarray, count: int) -> np.ndarray:
    """The class that most examples of each unit have, of several the first."""
    pairs, times = np.unique(np.stack([units, classes]), axis=1, return_counts=True)
    order = np.lexsort((-pairs[1], times))
    found = np.empty(count, classes.dtype)
    found[pairs[0][order]] = pairs[1][order]  # the last one that is written is the most frequent
    return found


def _places(numbers: np.ndarray, sizes: np.ndarray, strata: np.ndarray, seed: int) -> np.ndarray:
    """Where each unit stands among those of its class, in [0, 1)."""
    places = np.empty(len(numbers))
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        order = inside[np.argsort(numbers[inside], kind="stable")]
        held = sizes[order]
        # A class of few examples would give none to a small part: the offset gives it one of some.
        offset = _mix(np.array([int(stratum) + 2**32], np.uint64), seed)[0] / 2.0**64
        places[order] = (np.cumsum(held) - held + offset * held) / held.sum()
    return places


def _mix(values: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Random numbers of values and a seed (splitmix64)."""
    key = int.from_bytes(hashlib.sha256(f"jaxkd split {seed}".encode()).digest()[:8], "big")
    mixed = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _hash(group: object) -> int:
    return int.from_bytes(hashlib.sha256(f"{group}".encode()).digest()[:8], "big")
