"""Architectures as text, for the fingerprint that distinguishes networks of equal parameters."""

import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import jax
import numpy as np
from flax import nnx

# Arguments by which modules are set to training mode, and the value that sets it.
MODE_ARGUMENTS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


def describe_modules(modules: Mapping[str, nnx.Module]) -> str:
    """Returns a line for each NNX module: its path, its class and its plain attributes."""
    lines = []
    for path, module in modules.items():
        plain = {
            name: describe(value)
            for name, value in vars(module).items()
            # None is what a new release of Flax gives an attribute that did not exist before; the
            # names with "_pytree" and "__" are Flax's own book-keeping.
            if not (name.startswith(("_pytree", "__")) or name in MODE_ARGUMENTS or value is None)
            and not isinstance(value, nnx.Module | nnx.Variable)
        }
        lines.append(f"{path}: {type(module).__qualname__} {sorted(plain.items())}")
    return "\n".join(sorted(lines))


def describe(value: Any) -> str:
    """Returns a text that is equal in every process and release: no addresses, no module paths."""
    if isinstance(value, str | int | float | bool | type(None)):
        return repr(value)
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(describe, value)) + ")"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {describe(v)}" for k, v in sorted(value.items())) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
        inside = ", ".join(f"{f.name}={describe(getattr(value, f.name, None))}" for f in fields)
        return f"{type(value).__qualname__}({inside})"
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return f"{array.dtype}{array.shape} {digest}"
    if isinstance(value, functools.partial):
        return f"{describe(value.func)}{describe(value.args)}{describe(value.keywords)}"
    if inspect.isfunction(value):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        plain = [c for c in cells if isinstance(c, str | int | float | bool | tuple | np.ndarray)]
        return f"{value.__qualname__}{describe(value.__defaults__)}{describe(plain)}"
    return getattr(value, "__qualname__", None) or type(value).__qualname__


def describe_code(value: Any) -> str:
    """Returns the text of a function with the names and constants of its code.

    Two lambdas of one place in a program have the same name: what they read tells them apart.
    Unlike the bytes of the code, this is the same in every version of Python.
    """
    function = value.func if isinstance(value, functools.partial) else value
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return describe(value) if code is None else f"{describe(value)} {sorted(set(_read(code)))}"


def _read(code: CodeType) -> Iterator[str]:
    """Yields the names and constants that the instructions of a function read."""
    yield from code.co_names
    for instruction in dis.get_instructions(code):
        if "CONST" in instruction.opname or instruction.opname == "LOAD_SMALL_INT":
            value = instruction.argval
            items = value if isinstance(value, tuple) else (value,)
            yield from (repr(item) for item in items if isinstance(item, str | int | float))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _read(constant)


def described_call(architecture: str, **functions: Any) -> str:
    """Returns an architecture with the functions and selections around it, those that are given."""
    given = {name: value for name, value in functions.items() if value is not None}
    return "\n".join([architecture, *(f"{n}: {describe_code(v)}" for n, v in given.items())])
