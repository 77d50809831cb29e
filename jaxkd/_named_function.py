"""Functions that a command names as `module:function`."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from jaxkd._parser import meant


def named_function(name: str) -> Callable[..., Any]:
    """Returns the function that `module:function` names, of this folder or of the environment.

    Args:
      name: the name. What the function raises when it is called says so.

    Raises:
      ValueError: no such form, module or function; says what there is.
    """
    module, _, function = name.partition(":")
    if not (module and function):
        raise ValueError(f"name a function as module:function, not {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does for its own module
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"the module of {name} cannot be imported: {error}") from error
    except Exception as error:
        error.add_note(f"It was raised by the module {module}.")
        raise
    try:
        value = getattr(found, function)
    except AttributeError as error:
        known = [each for each in vars(found) if callable(getattr(found, each))]
        raise ValueError(f"there is no function {name}{meant(function, known)}") from error
    if not callable(value):
        raise ValueError(f"{name} must be a function, not an object of {type(value).__name__}")

    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return value(*arguments, **options)
        except Exception as error:
            given = [*map(str, arguments), *(f"{key}={each}" for key, each in options.items())]
            error.add_note(f"It was raised by {name}, called with ({', '.join(given)}).")
            raise

    call.__wrapped__ = value  # type: ignore[attr-defined]
    return call
