"""The constants of a traced program, and whether another program has the same ones.

A network may scale by a number that its code computes from a width, as attention does by the root
of the width of its heads. Such a number appears in the traced program as a constant. If it changes
when channels are removed, the smaller network does not compute what the complete one computes with
these channels at zero.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex_core


def program_constants(jaxpr: jex_core.Jaxpr, consts: Sequence[Any]) -> Iterator[np.ndarray]:
    """Yields the constants of a program and of all that it calls, in the order of their use.

    These are literals in floating point (integers count positions and follow the shapes),
    exponents, and arrays made outside of the program.

    Args:
      jaxpr: the program.
      consts: values of its constants.

    Yields:
      One array for each constant.
    """
    for const in consts:
        if not jax.dtypes.issubdtype(const.dtype, jax.dtypes.extended):  # else it is a PRNG key
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
                    yield from program_constants(inner.jaxpr, inner.consts)
                elif isinstance(inner, jex_core.Jaxpr):
                    yield from program_constants(inner, ())


def changed_constant(complete: Sequence[np.ndarray], smaller: Sequence[np.ndarray]) -> str:
    """Describes the first constant of a smaller network that the complete one does not have.

    Where both have as many constants, each is compared with the one in the same position, if that
    has the same shape. Where they do not, a loop over heads was perhaps unrolled, and every
    constant must be one of the complete network's.

    Args:
      complete: constants of the complete network.
      smaller: constants of the smaller network.

    Returns:
      The change in words; empty if there is none.
    """
    if len(complete) != len(smaller):
        known = {_key(constant) for constant in complete}
        new = next((constant for constant in smaller if _key(constant) not in known), None)
        if new is None:
            return ""
        return f"to {_in_words(new.ravel())}, which the complete network does not have"
    for a, b in zip(complete, smaller, strict=True):
        if a.shape == b.shape and _key(a) != _key(b):
            differ = (a != b).ravel() if a.dtype == b.dtype else np.ones(a.size, bool)
            return f"from {_in_words(a.ravel()[differ])} to {_in_words(b.ravel()[differ])}"
    return ""


def _key(constant: np.ndarray) -> tuple[Any, ...]:
    return constant.shape, constant.dtype, constant.tobytes()  # bytes, since NaN is not NaN


def _in_words(numbers: np.ndarray) -> str:
    return f"{float(numbers.real[0]):.6g}" if numbers.size else "other bits"


def _is_inexact(value: Any) -> bool:
    return jax.dtypes.issubdtype(np.result_type(value), np.inexact)
