"""Checks of arguments of another kind: the messages name the argument, its value and a remedy."""

import difflib
import inspect
from collections.abc import Collection, Iterable
from typing import Any


def check_kind(role: str, value: Any, kind: type, remedy: str) -> None:
    """Refuses an argument that is no object of a class.

    Args:
      role: name of the argument, such as `"objective"`.
      value: what was given.
      kind: the class.
      remedy: what to write instead, where `value` has no attribute of that name and class.

    Raises:
      TypeError: an object of another class; names both.
    """
    if isinstance(value, kind):
        return
    if isinstance(getattr(value, role, None), kind):
        remedy = f"give its .{role}"
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    raise TypeError(f"{role} must be {article} {kind.__name__}, not {shown(value)}: {remedy}")


def check_integer(name: str, value: Any) -> None:
    """Refuses what is not an integer.

    Args:
      name: name of the argument.
      value: what was given.

    Raises:
      TypeError: a value that is not an integer; names it.
    """
    try:
        is_integer = not isinstance(value, str) and float(value).is_integer()
    except (TypeError, ValueError):
        is_integer = False
    if not is_integer:
        raise TypeError(f"{name} must be an integer, not {shown(value)}")


def check_number(name: str, value: Any) -> None:
    """Refuses what is not a real number.

    Args:
      name: name of the argument.
      value: what was given.

    Raises:
      TypeError: a text, a function, or something else that is no number; names it.
    """
    try:
        float("" if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {shown(value)}") from None


def names_to_allow(allow: Collection[str]) -> frozenset[str]:
    """Checks an argument `allow`, the names of fields that may differ.

    Args:
      allow: what was given.

    Returns:
      The names.

    Raises:
      TypeError: one text in place of a collection, or a name that is no text.
    """
    if isinstance(allow, str):
        raise TypeError(
            f"allow must be a set of names, not the text {allow!r}: allow={{{allow!r}}}"
        )
    for name in allow:
        if not isinstance(name, str):
            raise TypeError(f"allow must be a set of names, not of {shown(name)}")
    return frozenset(allow)


def shown(value: Any) -> str:
    """Returns a value for a message: a function by its name, what is short as it is."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"the {'class' if inspect.isclass(value) else 'function'} {value.__name__}"
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    return f"an object of the class {type(value).__name__}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the closest of the known ones, if any.

    Args:
      word: the unknown name.
      known: known names; one of a package, as `language.gkd`, is found by its last part, too.

    Returns:
      A question, or a period.
    """
    names = list(known)
    found = {name.lower().rpartition(".")[2]: name for name in names}
    found |= {name.lower(): name for name in names}
    close = [found[name] for name in difflib.get_close_matches(word.lower(), found, n=3)]
    return f"; did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?" if close else "."
