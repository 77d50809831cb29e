"""Names for what a teacher outside of JAX returns."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxkd.networks._arguments import shown

OutputNames = Callable[[Any], Mapping[str, Any]] | Mapping[str, str] | None
"""How outputs get their names: a function of what is returned, or name → dotted place in it."""


def named_outputs(result: Any, names: OutputNames, teacher: str) -> dict[str, Any]:
    """Returns the outputs of a teacher by name.

    Args:
      result: what the teacher returned.
      names: a function of it that returns a mapping; or names of outputs → dotted places. None: an
        array is `logits`; fields of mappings, dataclasses and named tuples have their own names,
        nested ones with dots; of `(logits, mapping)` the first is `logits`.
      teacher: name of the teacher, for messages.

    Returns:
      Name → array.

    Raises:
      TypeError: a result without names, or a function that returns no mapping.
      ValueError: a place that is not there.
    """
    if callable(names):
        named = names(result)
        if not isinstance(named, Mapping):
            raise TypeError(f"outputs= must return a dictionary of arrays, not {shown(named)}")
        return dict(named)
    if names is not None:
        return {name: _at(result, place, teacher) for name, place in names.items()}
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result = {"logits": result[0], **result[1]}
    found = {"logits": result} if _is_array(result) else dict(_fields(result, ""))
    if not found or not all(map(_is_array, found.values())):
        odd = {n: _described(v) for n, v in found.items() if not _is_array(v)}
        raise TypeError(
            f"the teacher {teacher} returns {_described(result)}{f' with {odd}' * bool(odd)}, not "
            'an array or arrays by name: give outputs={"logits": "0"}, places in it by name, or a '
            "function of it that returns a dictionary"
        )
    return found


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _fields(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yields dotted names and leaves; what is None is left out, as optional fields often are."""
    for name, item in _children(value).items():
        if _is_array(item) or not _children(item):
            if item is not None:
                yield f"{prefix}{name}", item
        else:
            yield from _fields(item, f"{prefix}{name}.")


def _children(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    if hasattr(value, "_fields"):
        return value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}


def _at(result: Any, place: str, teacher: str) -> Any:
    """Returns what lies at a dotted place; an index is a number."""
    node = result
    if isinstance(result, Mapping) and place in result:
        return result[place]  # a name with dots in it
    for part in place.split("."):
        children = _children(node)
        if isinstance(node, list | tuple):
            children |= {str(index): item for index, item in enumerate(node)}
        if part not in children:
            raise ValueError(
                f"the teacher {teacher} returns nothing at {place!r}: there is no {part!r} in "
                f"{sorted(children) or _described(node)}"
            )
        node = children[part]
    return node


def _described(value: Any) -> str:
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return f"a {type(value).__name__} of {len(value)}"
    return shown(value)
