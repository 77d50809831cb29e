"""Labels as people write them, names or numbers, become class ids or values."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_SHOWN = 8  # names of classes that a message lists


def encode_labels(
    values: Sequence[Any] | Mapping[str, Sequence[Any]],
    class_names: Any,
    num_classes: Any,
    describe: Callable[[int], str],
) -> tuple[Any, dict[str, Any]]:
    """Encodes labels as class ids, or as values where they have decimal points.

    Args:
      values: a name or a number for each example, None or NaN for unlabeled; or several such lists
        by name.
      class_names: names in the order of their ids; empty: those that occur, in the order of text.
        By name where labels are.
      num_classes: number of classes, where labels are numbers without names. By name where labels
        are.
      describe: names the example at a place, for messages.

    Returns:
      Labels for a data set, None where there are none, and its `num_classes` and `class_names`.

    Raises:
      TypeError: labels that are neither names nor numbers, or both.
      ValueError: names that are not among the classes, or numbers of classes that are not known.
    """
    if not isinstance(values, Mapping):
        labels, count, names = _encoded(values, tuple(class_names), num_classes, describe)
        if count is None and labels.dtype.kind == "i":  # none at all, of no classes
            return None, {"num_classes": None, "class_names": ()}
        return labels, {"num_classes": count, "class_names": names}
    names_of, count_of = class_names or {}, num_classes or {}
    found = {
        name: _encoded(column, tuple(names_of.get(name, ())), count_of.get(name), describe)
        for name, column in values.items()
    }
    return {name: one[0] for name, one in found.items()}, {
        "num_classes": {name: one[1] for name, one in found.items()},
        "class_names": {name: one[2] for name, one in found.items()},
    }


def _encoded(
    values: Sequence[Any],
    class_names: tuple[str, ...],
    num_classes: int | None,
    describe: Callable[[int], str],
) -> tuple[npt.NDArray[Any], int | None, tuple[str, ...]]:
    places = [place for place, value in enumerate(values) if not _is_missing(value)]
    named = [place for place in places if isinstance(values[place], str)]
    if named and len(named) < len(places):
        other = next(place for place in places if not isinstance(values[place], str))
        raise TypeError(
            f"labels must be all names or all numbers: that of {describe(named[0])} is "
            f"{values[named[0]]!r}, that of {describe(other)} is {values[other]!r}"
        )
    given = [values[place] for place in places]
    if named:
        class_names = class_names or tuple(sorted(set(given)))
        given = _numbers(given, places, class_names, describe)
    for place, value in zip(places, given, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(
                f"the label of {describe(place)} is {value!r}: wanted is the name or the number of "
                "a class, a value with a decimal point, or None for unlabeled"
            )
    if num_classes is None and not class_names and _are_values(given, len(values)):
        labels = np.full(len(values), np.nan, np.float32)
        labels[places] = given
        return labels, None, ()
    return _class_ids(len(values), places, given, class_names, num_classes)


def _are_values(given: list[Any], n: int) -> bool:
    """Whether labels are values and no classes, which floats are."""
    # Whole ones of which some are missing may be classes: libraries that know no missing integers
    # write 3.0 then. These need a number of classes.
    if any(isinstance(value, float | np.floating) and value % 1 for value in given):
        return True
    floats = bool(given) and all(isinstance(value, float | np.floating) for value in given)
    return floats and len(given) == n


def _class_ids(
    n: int,
    places: list[int],
    given: list[Any],
    class_names: tuple[str, ...],
    num_classes: int | None,
) -> tuple[npt.NDArray[np.int64], int | None, tuple[str, ...]]:
    labels = np.full(n, -1, np.int64)
    if any(value % 1 for value in given):
        raise TypeError(
            f"labels are values such as {next(value for value in given if value % 1)}, which are "
            "no classes: leave num_classes and class_names out"
        )
    labels[places] = np.array(given, np.int64) if places else []
    if num_classes is None:
        num_classes = len(class_names) or None
    if num_classes is None and places:
        raise ValueError(
            f"labels are numbers up to {labels.max()}, and how many classes there are is not "
            f"known: write num_classes={labels.max() + 1}, or class_names=[…]"
        )
    return labels, num_classes, class_names


def _numbers(
    given: list[str],
    places: list[int],
    class_names: tuple[str, ...],
    describe: Callable[[int], str],
) -> list[int]:
    number_of = {name: number for number, name in enumerate(class_names)}
    for place, name in zip(places, given, strict=True):
        if name not in number_of:
            listed = ", ".join(map(repr, class_names[:_SHOWN]))
            raise ValueError(
                f"{describe(place)} has the class {name!r}, which is none of the "
                f"{len(class_names)} in class_names: {listed}"
                f"{', …' if len(class_names) > _SHOWN else ''}. Add it there, or leave the example "
                "out"
            )
    return [number_of[name] for name in given]


def _is_missing(value: Any) -> bool:
    # NaN, and the missing values of pandas, are equal to nothing or to no truth value.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)
