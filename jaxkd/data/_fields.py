"""Fields of examples: one array, or a dictionary of arrays that share the axis of examples."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxkd.data._digests import dtype_name, hash_arrays, row_digests


def by_name(field: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of a field by their dotted names, in the order of these.

    Args:
      field: an array, whose name is `""`, or a (nested) dictionary of arrays.

    Returns:
      Dotted name → array.
    """
    if not isinstance(field, Mapping):
        return {"": field}
    found = {
        f"{name}.{inner}" if inner else name: array
        for name, value in field.items()
        for inner, array in by_name(value).items()
    }
    return dict(sorted(found.items()))


def map_arrays(function: Callable[[Any], Any], field: Any) -> Any:
    """Applies a function to every array of a field.

    Args:
      function: from an array to anything.
      field: an array, or a (nested) dictionary of arrays.

    Returns:
      What the function returns, in dictionaries of the same names.
    """
    if isinstance(field, Mapping):
        return {name: map_arrays(function, value) for name, value in field.items()}
    return function(field)


def read_only(array: np.ndarray) -> np.ndarray:
    """Returns a view of an array that cannot be written to, which leaves the array as it was."""
    view = array.view()
    view.flags.writeable = False
    return view


def take(field: Any, rows: Any) -> Any:
    """Returns rows of every array of a field.

    Args:
      field: an array, or a (nested) dictionary of arrays.
      rows: an index of the axis of examples.
    """
    return map_arrays(lambda array: array[rows], field)


def labeled_rows(labels: Any) -> npt.NDArray[np.bool_]:
    """Returns which examples have a label that counts, in any of their label sets.

    Args:
      labels: int32 `[n, ...]`, of which negative ones do not count, or float32 `[n, ...]`, of which
        NaN does not; or name → such an array.

    Returns:
      bool `[n]`.
    """
    parts = [_counts(array) for array in by_name(labels).values()]
    return np.asarray(np.logical_or.reduce(parts), bool)


def without_labels(labels: Any, rows: Any) -> Any:
    """Returns labels of which only those in some rows are kept; the others are unlabeled.

    Args:
      labels: as of `labeled_rows`.
      rows: an index of the axis of examples.
    """

    def only(array: np.ndarray) -> np.ndarray:
        kept = np.full(array.shape, np.nan if array.dtype.kind == "f" else -1, array.dtype)
        kept[rows] = array[rows]
        return kept

    return map_arrays(only, labels)


def field_digests(header: str, field: Any) -> npt.NDArray[np.uint64]:
    """Returns a digest for each example of a field, by names, dtypes, shapes and bytes.

    Args:
      header: name of the kind of data set.
      field: an array, or a (nested) dictionary of arrays.

    Returns:
      uint64 `[n]`.
    """
    if not isinstance(field, Mapping):
        return row_digests(f"{header} 1", field)
    arrays = by_name(field)
    return row_digests(f"{header} 2 {list(arrays)}", *arrays.values())


def field_hash(header: str, ids: np.ndarray, field: Any) -> str:
    """Returns a name for the content of all examples, `"sha256:<64 hex digits>"`.

    Args:
      header: name of the kind of data set.
      ids: example ids.
      field: an array, or a (nested) dictionary of arrays.
    """
    if not isinstance(field, Mapping):
        return hash_arrays(f"{header} 1 {dtype_name(field.dtype)} {field.shape}", ids, field)
    arrays = by_name(field)
    kinds = [(name, dtype_name(array.dtype), array.shape) for name, array in arrays.items()]
    return hash_arrays(f"{header} 2 {kinds}", ids, *arrays.values())


def describe_arrays(field: Any) -> str:
    """Returns dtype and shape of one example, as `uint8[32, 32, 3]`, of several by name."""
    if not isinstance(field, Mapping):
        return f"{field.dtype}{list(field.shape[1:])}"
    parts = (f"{name} {describe_arrays(array)}" for name, array in by_name(field).items())
    return f"{{{', '.join(parts)}}}"


def _counts(array: np.ndarray) -> npt.NDArray[np.bool_]:
    known = ~np.isnan(array) if array.dtype.kind == "f" else array >= 0
    return np.any(known.reshape(len(array), int(np.prod(array.shape[1:]))), axis=1)
