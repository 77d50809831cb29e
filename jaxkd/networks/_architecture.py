"""Architectures as text, for the fingerprint that distinguishes networks of equal parameters."""

import dataclasses
import enum
import functools
import hashlib
import inspect
from collections.abc import Mapping
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
