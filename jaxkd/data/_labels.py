"""Labels of examples: checks of their kinds and values, and what a batch carries of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxkd.data._examples import Examples, integer, integers, refuse
from jaxkd.data._fields import by_name, labeled_rows, map_arrays

_CHOOSE = (
    "dataclasses.replace(data, labels=data.labels[{name!r}], "
    "num_classes=data.num_classes[{name!r}], class_names=())"
)
_MAX_ID = 2**31 - 1


def check_fields(
    n: int,
    ids: Any,
    labels: Any,
    num_classes: Any,
    class_names: Any,
    ignore_label: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Checks the fields of `n` examples and fills in those not given; see `Dataset.from_arrays`.

    Args:
      n: number of examples.
      ids: example ids, or None.
      labels: labels, a dictionary of label sets, or None.
      num_classes: number of classes, of each label set by name, or None where there are none.
      class_names: one name a class, or empty; by the names of label sets.
      ignore_label: the integer label that does not count, and becomes -1.

    Returns:
      Integer ids `[n]`, and labels of int32 or float32, in the order given.

    Raises:
      TypeError: ids that are not integers, or labels of another kind than `num_classes` says.
      ValueError: numbers that do not fit each other, or that are out of range.
    """
    ids = np.arange(n) if ids is None else integers(ids, "ids")
    if ids.shape != (n,):
        raise ValueError(f"ids must have shape ({n},), as there are {n} inputs, got {ids.shape}")
    refuse((ids < 0) | (ids > _MAX_ID), "id", ids, f"must be in [0, {_MAX_ID}]")
    if not isinstance(labels, Mapping):
        if isinstance(num_classes, Mapping):
            raise ValueError(
                f"num_classes={dict(num_classes)} is by label set, and labels are one array: give "
                "one number, or labels by name, labels={'color': …}"
            )
        _check_classes("", num_classes, class_names)
        if labels is None:
            return ids, np.full(n, -1, np.int32)
        checked: Any = _checked("labels", ids, labels, num_classes, ignore_label)
    else:
        checked = _checked_sets(ids, labels, num_classes, class_names, ignore_label)
    if ignore_label is not None and not _integer_sets(checked):
        raise ValueError(
            f"ignore_label={ignore_label} is one of integer labels, and there are none"
        )
    return ids, checked


def classes_of(labels: Any, num_classes: Any, class_names: Any) -> dict[str, Any]:
    """Returns the fields of a data set that say what its classes are, as plain data.

    Args:
      labels: as of `check_fields`.
      num_classes: number of classes, of each label set by name, or None.
      class_names: one name a class, or empty; by the names of label sets.

    Returns:
      `"num_classes"` and `"class_names"`, with an entry for each label set where there are several.
    """
    if not isinstance(labels, Mapping):
        return {"num_classes": num_classes, "class_names": tuple(class_names)}
    counts, names = num_classes or {}, class_names or {}
    named = {name: tuple(names.get(name, ())) for name in labels} if names else ()
    return {"num_classes": {name: counts.get(name) for name in labels}, "class_names": named}


def class_ids(
    dataset: Examples, who: str, labels: str | None = None, *, choose: str = _CHOOSE
) -> np.ndarray:
    """Returns the class of each example, for what works by class.

    Args:
      dataset: the examples.
      who: what needs classes, for the message.
      labels: name of the label set, where there are several.
      choose: how one of several is chosen, for the message.

    Returns:
      int32 `[n]`, -1 where there is no label.

    Raises:
      ValueError: labels of another kind; says which, and how to choose one of several sets.
    """
    if labels is not None:
        return _of_one_set(dataset, labels, who)
    given: Any = dataset.labels
    named = by_name(given)
    if not isinstance(given, Mapping) and given.ndim == 1 and given.dtype.kind == "i":
        return np.asarray(given)
    fitting = [n for n, a in named.items() if n and a.ndim == 1 and a.dtype.kind == "i"]
    if fitting:
        name = fitting[0]
        remedy = f". Choose one set: {choose.format(name=name)}"
    else:
        remedy = ""
    if has_token_labels(dataset):
        what = "a label for each token, and no classes to pick from"
    else:
        what = f"labels {describe_labels(given, dataset.num_classes)}"
    raise ValueError(
        f"{who} needs one class for each example, int32 [n]: {dataset.name} has {what}{remedy}"
    )


def _of_one_set(dataset: Examples, name: str, who: str) -> np.ndarray:
    """Returns the classes that one of several label sets has.

    Raises:
      ValueError: there is no such set, or it has no class for each example.
    """
    sets = dataset.labels
    if not isinstance(sets, Mapping) or name not in sets:
        there = sorted(sets) if isinstance(sets, Mapping) else "one set without a name"
        raise ValueError(f"{who}: {dataset.name} has no labels {name!r}, but {there}")
    if sets[name].ndim != 1 or sets[name].dtype.kind != "i":
        raise ValueError(
            f"{who} needs one class for each example, int32 [n]: labels.{name} of {dataset.name} "
            f"are {_kind(sets[name], None)}"
        )
    return np.asarray(sets[name])


def has_token_labels(dataset: Examples) -> bool:
    """Returns whether the examples are rows of tokens, each of which has a label of its own."""
    labels = dataset.labels
    if isinstance(labels, Mapping) or labels.ndim == 1 or labels.dtype.kind == "f":
        return False
    mask = dataset.token_mask(dataset.ids[:0])
    return mask is not None and mask.shape[1:] == labels.shape[1:]


def of_batch(labels: Any) -> dict[str, Any]:
    """Returns what a batch carries of the labels of its examples.

    Args:
      labels: those of the examples, an array or name → array.

    Returns:
      `"labels"`; and of values, `"labeled"`, bool `[batch]`, which is False where the label was
      NaN and is 0 now; by name where labels are.
    """
    values = {name: a for name, a in by_name(labels).items() if a.dtype.kind == "f"}
    if not values:
        return {"labels": labels}
    labeled = {name: labeled_rows(array) for name, array in values.items()}
    known = map_arrays(lambda a: np.nan_to_num(a) if a.dtype.kind == "f" else a, labels)
    return {"labels": known, "labeled": labeled if isinstance(labels, Mapping) else labeled[""]}


def describe_labels(labels: Any, num_classes: Any) -> str:
    """Returns what labels there are of how many examples, for the text of a data set."""
    if isinstance(labels, Mapping):
        classes = num_classes or {}
        parts = (f"{n} {_kind(array, classes.get(n))}" for n, array in sorted(labels.items()))
        return f"{labeled_rows(labels).sum()} labeled by {', '.join(parts)}"
    kind = _kind(labels, num_classes)
    if labels.dtype.kind == "i" and labels.ndim == 1:
        return f"{labeled_rows(labels).sum()} labeled" + (f", {kind}" if num_classes else "")
    return f"{labeled_rows(labels).sum()} labeled by {kind}"


def _kind(labels: np.ndarray, num_classes: int | None) -> str:
    shape = "" if labels.ndim == 1 and num_classes else f"{labels.dtype}{list(labels.shape[1:])}"
    classes = f"{num_classes} classes" if num_classes else ""
    return " of ".join(part for part in (shape, classes) if part)


def _integer_sets(labels: Any) -> list[str]:
    return [name for name, array in by_name(labels).items() if array.dtype.kind == "i"]


def _checked_sets(
    ids: np.ndarray,
    labels: Mapping[str, Any],
    num_classes: Any,
    class_names: Any,
    ignore_label: int | None,
) -> dict[str, np.ndarray]:
    example = f"{{{', '.join(f'{name!r}: …' for name in labels)}}}"
    if not labels or not all(isinstance(n, str) and n and "." not in n for n in labels):
        raise ValueError(
            f"label sets have names without dots, labels={{'color': …}}, not {example}"
        )
    for what, given in (("num_classes", num_classes), ("class_names", class_names)):
        if given and not isinstance(given, Mapping):
            raise ValueError(f"labels are by name, and so is {what}={example}, not {given!r}")
        if given and (unknown := sorted(set(given) - set(labels))):
            raise ValueError(f"{what} has {unknown}, the label sets are {sorted(labels)}")
    counts, names = num_classes or {}, class_names or {}
    checked = {}
    for name, array in labels.items():
        _check_classes(name, counts.get(name), names.get(name, ()))
        checked[name] = _checked(f"labels.{name}", ids, array, counts.get(name), ignore_label)
    return checked


def _check_classes(name: str, num_classes: Any, class_names: Any) -> None:
    of = f" of {name}" if name else ""
    if num_classes is not None and integer(num_classes, f"num_classes{of}") < 1:
        raise ValueError(f"num_classes{of} must be at least 1, got {num_classes}")
    if isinstance(class_names, str) or not all(isinstance(n, str) for n in class_names):
        raise TypeError(f"class_names{of} must be one text for each class, got {class_names!r}")
    if len(class_names) and len(class_names) != num_classes:
        raise ValueError(f"Got {len(class_names)} class_names{of} for {num_classes} classes")


def _checked(
    what: str, ids: np.ndarray, labels: Any, num_classes: int | None, ignore_label: int | None
) -> np.ndarray:
    """One label set, as int32 or float32."""
    array = np.asarray(labels)
    n = len(ids)
    if array.dtype.kind not in "biuf":
        named = array.dtype.kind in "UO"
        hint = ": write names, labels = np.unique(labels, return_inverse=True)" if named else ""
        raise TypeError(f"{what} must be integers or floats, got dtype {array.dtype}{hint}")
    if array.shape[:1] != (n,):
        raise ValueError(
            f"{what} must have shape ({n},), or ({n}, ...) for more than one number an example, as "
            f"there are {n} inputs, got {array.shape}"
        )
    if array.size == 0 and array.dtype.kind == "f" and num_classes is not None:
        array = array.astype(np.int32)  # NumPy makes float64 of an empty list
    by_class = num_classes is not None and array.ndim > 1 and array.shape[-1] == num_classes
    if array.dtype.kind == "f":
        if num_classes is not None and not by_class:
            raise TypeError(
                f"{what} must be integers, got dtype {array.dtype}: labels that are values, of no "
                f"classes, are given with num_classes=None, not {num_classes}"
            )
        return _checked_values(what, ids, array)
    if array.dtype == bool and array.ndim == 1:
        raise TypeError(
            f"{what} must be integers, got dtype bool: write labels.astype(int) for one of two "
            "classes, labels[:, None] for one decision of yes or no, with num_classes=1"
        )
    if num_classes is None:
        raise TypeError(
            f"{what} are integers, got dtype {array.dtype}: these are classes and need their "
            "number, num_classes=…; values such as counts or boxes are floats, "
            "labels.astype(np.float32)"
        )
    # One decision of yes or no for each class, of which there may be one.
    limit = max(num_classes, 2) if by_class else num_classes
    ignored = np.zeros(array.shape, bool)
    if ignore_label is not None:
        ignored = array == integer(ignore_label, "ignore_label")
    bad = ~ignored & ((array < -1) | (array >= limit))
    if bad.any():
        counted = array[~ignored & (array >= 0)]
        from_one = (array[bad] == limit).all() and counted.min() == 1
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        inside = f" at {list(place[1:])}" if array.ndim > 1 else ""
        raise ValueError(
            f"{bad.sum()} of {bad.size} {what} are out of range: label {array[place]} of example "
            f"id {ids[place[0]]}{inside}; {what} must be in [0, {limit}), or -1 for unlabeled"
            + ("; these count from one: write labels - 1" if from_one else "")
            + (
                ""
                if ignore_label is not None
                else "; another label that does not count is named, ignore_label=255"
            )
        )
    checked = array.astype(np.int32)
    checked[ignored] = -1
    return checked


def _checked_values(what: str, ids: np.ndarray, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    flat = values.reshape(len(values), -1) if values.size else values.reshape(len(values), 0)
    unknown = np.isnan(flat)
    partly = unknown.any(axis=1) & ~unknown.all(axis=1)
    infinite = np.isinf(flat).any(axis=1)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"{infinite.sum()} of {len(flat)} {what} are infinite as float32, that of example id "
            f"{ids[row]} first: values must be finite, or NaN for unlabeled"
        )
    if partly.any():
        row = int(np.argmax(partly))
        raise ValueError(
            f"{partly.sum()} of {len(flat)} {what} are NaN in part, that of example id {ids[row]} "
            f"first at {np.argwhere(np.isnan(values[row]))[0].tolist()}: a label is NaN as a "
            "whole, or not at all. Give what counts as a set of its own: labels={'depth': "
            "np.nan_to_num(depth), 'known': ~np.isnan(depth)}, num_classes={'known': 2}"
        )
    values[unknown.any(axis=1)] = np.nan  # of one bit pattern, as they are compared by bytes
    return values
