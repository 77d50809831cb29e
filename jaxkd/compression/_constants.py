"""The numbers that are written into a traced program, and whether they are still the same."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex_core


def constants_in(jaxpr: jex_core.Jaxpr, consts: Sequence[Any]) -> Iterator[np.ndarray]:
    """Numbers that a program and all that it calls compute with, in the order of their use.

    Literals in floating point (scales of attention for instance; integers count positions and
    follow the shapes), exponents, and arrays made outside of the program.

    Args:
      jaxpr: the program.
      consts: values of its constants.
    """
    for const in consts:
        if not jax.dtypes.issubdtype(const.dtype, jax.dtypes.extended):  # else it is a key
            yield np.asarray(const)
    for equation in jaxpr.eqns:
        for atom in equation.invars:
            if isinstance(atom, jex_core.Literal) and _is_inexact(atom.val):
                yield np.asarray(atom.val)
        if equation.primitive.name == "integer_pow":
            yield np.asarray(equation.params["y"])
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, jex_core.ClosedJaxpr):
                    yield from constants_in(inner.jaxpr, inner.consts)
                elif isinstance(inner, jex_core.Jaxpr):
                    yield from constants_in(inner, ())


def changed(whole: Sequence[np.ndarray], small: Sequence[np.ndarray]) -> str:
    """What a smaller network's program computes with instead of the whole one's numbers.

    Where there are as many numbers, each is compared with the one in its place, if that has the
    same shape. Where there are not, a loop over heads was perhaps written out, and every number
    must be one of the whole network's.

    Args:
      whole: constants of the whole network.
      small: of the smaller one.

    Returns:
      The first change; empty if there is none.
    """
    if len(whole) != len(small):
        known = {_key(constant) for constant in whole}
        new = next((constant for constant in small if _key(constant) not in known), None)
        return "" if new is None else f"to {_told(new.ravel())}, which the whole network has not"
    for a, b in zip(whole, small, strict=True):
        if a.shape == b.shape and _key(a) != _key(b):
            differ = (a != b).ravel() if a.dtype == b.dtype else np.ones(a.size, bool)
            return f"from {_told(a.ravel()[differ])} to {_told(b.ravel()[differ])}"
    return ""


def _key(constant: np.ndarray) -> tuple[Any, ...]:
    return constant.shape, constant.dtype, constant.tobytes()  # bytes, since NaN is not NaN


def _told(numbers: np.ndarray) -> str:
    return f"{float(numbers.real[0]):.6g}" if numbers.size else "other bits"


def _is_inexact(value: Any) -> bool:
    return jax.dtypes.issubdtype(np.result_type(value), np.inexact)
