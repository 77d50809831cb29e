"""Configurations whose fields declare their range, and the one check of them all.

    @dataclasses.dataclass
    class Config:
        dataset: str = field("digits", choices=("digits", "fashion_mnist"))
        arms: str = field("labels,kd", choices=("labels", "kd", "dkd"), several=True)
        seeds: int = field(5, ge=1)
        alpha: float = field(0.9, ge=0, le=1)
        epochs: int = field(0, ge=1, unset=0)  # 0: the data set's own
        noise: tuple[float, ...] = field((0.0, 0.2), ge=0, lt=1)

    validate(Config(alpha=1.5))  # ValueError: alpha must lie in [0, 1], not 1.5

Ranges apply to each element of a tuple, choices to each name of a list that commas separate. What
relates several fields is a short function beside the configuration.
"""

import dataclasses
import difflib
import functools
import json
import math
import operator
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxkd._files import parse_json

_NOUNS = {int: "an integer", float: "a number", str: "a text", bool: "True or False"}
_TESTS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


def field(
    default: Any = dataclasses.MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Iterable[str] | None = None,
    several: bool = False,
    unset: Any = None,
) -> Any:
    """Declares a field of a configuration with its range.

    Args:
      default: default value, or a function without arguments that makes it; a field without one
        must be given.
      ge: the value is at least this.
      gt: the value is greater than this.
      le: the value is at most this.
      lt: the value is less than this.
      choices: the values that there are.
      several: whether the value is a text of one or more choices separated by commas.
      unset: a value outside the range that stands for another, such as the data set's own.

    Returns:
      A field of a dataclass, its range in `metadata`.
    """
    names = tuple(choices) if choices is not None else None
    metadata = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": names}
    metadata |= {"several": several or None, "unset": unset}
    metadata = {name: value for name, value in metadata.items() if value is not None}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def validate(config: Any, prefix: str = "") -> None:
    """Checks every field of a configuration against its range, those of nested ones too.

    Args:
      config: a dataclass.
      prefix: text before the names of its fields, `"views."` for instance.

    Raises:
      ValueError: a value of another type or outside its range; the message names the field as its
        flag does, the value, the range, and of choices the one that was probably meant.
    """
    types = typing.get_type_hints(type(config))
    for declared in dataclasses.fields(config):
        name, value = prefix + declared.name, getattr(config, declared.name)
        kind = types[declared.name]
        if kind in _NOUNS and not _is_a(kind, value):
            raise ValueError(f"{name} must be {_NOUNS[kind]}, not {value!r}")
        if dataclasses.is_dataclass(value):
            validate(value, f"{name}.")
        elif "unset" in declared.metadata and value == declared.metadata["unset"]:
            continue
        elif declared.metadata.get("several"):
            _check_list(name, value, declared.metadata["choices"])
        elif typing.get_origin(kind) is tuple:
            _check_numbers(name, value, typing.get_args(kind)[0])
            for element in value:
                _check(name, element, declared.metadata)
        else:
            _check(name, value, declared.metadata)


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuses a value that is not among the choices.

    Raises:
      ValueError: names the field, the value, the choices and the one that was probably meant.
    """
    choices = tuple(choices)
    if value not in choices:
        known = ", ".join(choices)
        raise ValueError(f"{name} must be one of {known}, not {value!r}{_hint(value, choices)}")


def recipe_options(
    name: str, text: str, chosen: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Parses options of recipes by name, such as `{"crd": {"num_negatives": 1024}}`.

    Args:
      name: name of the field, for messages.
      text: JSON.
      chosen: names of the recipes that are used; None: they are not checked.

    Returns:
      The options of each recipe.

    Raises:
      ValueError: no JSON, no dictionary of dictionaries, a name given twice, or options of a recipe
        that is not among the chosen ones.
    """
    try:
        options = parse_json(text, functools.partial(_once, name))
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} must be JSON, not {text!r}: {error}") from error
    if not isinstance(options, dict) or not all(isinstance(o, dict) for o in options.values()):
        raise ValueError(f"{name} must map recipes to their options, not {text!r}")
    for method in options:
        if chosen is not None and method not in chosen:
            known = ", ".join(chosen) or "recipes (there are none)"
            raise ValueError(
                f"{name} are for the chosen {known}, not {method!r}{_hint(method, chosen)}"
            )
    return options


def _once(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{name} must give {twice[0]!r} once, not twice")
    return dict(pairs)


def _is_a(kind: type, value: Any) -> bool:
    return type(value) in ((int, float) if kind is float else (kind,))


def _check(name: str, value: Any, declared: Mapping[str, Any]) -> None:
    if "choices" in declared:
        check_choice(name, value, declared["choices"])
    bounds = {key: declared[key] for key in _TESTS if key in declared}
    finite = not isinstance(value, float) or math.isfinite(value)
    if not finite or not all(_TESTS[key](value, bound) for key, bound in bounds.items()):
        raise ValueError(f"{name} must {_described(bounds)}, not {value}")


def _described(bounds: Mapping[str, float]) -> str:
    """Describes a range in words, one of two bounds as an interval."""
    if not bounds:
        return "be finite"
    if bounds == {"gt": 0}:
        return "be a positive number"
    if len(bounds) == 1:
        ((key, bound),) = bounds.items()
        words = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
        return f"be {words[key]} {bound:g}"
    left = f"[{bounds['ge']:g}" if "ge" in bounds else f"({bounds['gt']:g}"
    right = f"{bounds['le']:g}]" if "le" in bounds else f"{bounds['lt']:g})"
    return f"lie in {left}, {right}"


def _check_list(name: str, text: str, choices: Sequence[str]) -> None:
    values = text.split(",")
    unknown = [value for value in values if value not in choices]
    if unknown or len(set(values)) < len(values):
        hint = _hint(unknown[0], choices) if unknown else ""
        known = ", ".join(choices)
        raise ValueError(f"{name} must be some of {known}, each once, not {text!r}{hint}")


def _hint(value: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, choices, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_numbers(name: str, values: tuple[Any, ...], kind: type) -> None:
    """Refuses no numbers, equal ones, and what else flags may hold: `1,x` is a tuple too."""
    numbers = isinstance(values, tuple) and all(_is_a(kind, value) for value in values)
    if not numbers or not values or len(set(values)) < len(values):
        raise ValueError(
            f"{name} must be numbers separated by commas, at least one and none twice, "
            f"not {values!r}"
        )
