"""Labels as people write them, names or numbers, become class ids."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def encode_labels(
    values: Sequence[Any],
    class_names: Sequence[str],
    num_classes: int | None,
    describe: Callable[[int], str],
) -> tuple[npt.NDArray[np.integer], int | None, tuple[str, ...]]:
    """Encodes labels as class ids.

    Args:
      values: a name or a number for each example; None or NaN: unlabeled.
      class_names: names in the order of their ids; empty: those that occur, in the order of text.
      num_classes: number of classes, where labels are numbers without names.
      describe: names the example at a place, for messages.

    Returns:
      Labels `[n]`, -1 where there is none; the number of classes, and their names.

    Raises:
      TypeError: labels that are neither names nor integers, or both.
      ValueError: names that are not among the classes, or numbers of classes that are not known.
    """
    missing = np.array([_is_missing(value) for value in values], bool)
    named = [isinstance(value, str) for value in values]
    given = np.flatnonzero(~missing)
    places: list[int] = given.tolist()
    kinds = {named[place] for place in places}
    if len(kinds) > 1:
        one, other = (next(p for p in places if named[p] is kind) for kind in (True, False))
        raise TypeError(
            f"labels must be all names or all numbers: that of {describe(one)} is {values[one]!r}, "
            f"that of {describe(other)} is {values[other]!r}"
        )
    labels = np.full(len(values), -1, np.int64)
    if kinds == {True}:
        names = tuple(class_names) or tuple(sorted({values[place] for place in places}))
        labels[given] = _places(values, places, names, describe)
        return labels, len(names), names
    for place in places:
        if not isinstance(values[place], int | np.integer) or isinstance(values[place], bool):
            raise TypeError(
                f"the label of {describe(place)} is {values[place]!r}: wanted is the name or the "
                "number of a class, or None for unlabeled"
            )
        labels[place] = values[place]
    if num_classes is None:
        num_classes = len(class_names) or None
    if num_classes is None and places:
        raise ValueError(
            f"labels are numbers up to {labels.max()}, and how many classes there are is not "
            f"known: write num_classes={labels.max() + 1}, or class_names=[…]"
        )
    return labels, num_classes, tuple(class_names)


def _places(
    values: Sequence[str],
    given: list[int],
    names: tuple[str, ...],
    describe: Callable[[int], str],
) -> list[int]:
    place_of = {name: place for place, name in enumerate(names)}
    for place in given:
        if values[place] not in place_of:
            shown = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")
            raise ValueError(
                f"{describe(place)} has the class {values[place]!r}, which is none of the "
                f"{len(names)} in class_names: {shown}. Add it there, or leave the example out"
            )
    return [place_of[values[place]] for place in given]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))
