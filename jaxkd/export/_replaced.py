"""A program computed with other operations in place of those that a converter does not have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

Replacements = Mapping[str, Callable[..., Any]]
"""Name of a primitive → function of its operands and parameters; what returns None stays."""

_CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "remat"}
    | {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
)


def with_replacements(function: Callable[[Any], jax.Array], replaced: Replacements) -> Any:
    """Returns a function of one pytree of arrays that computes the same by other operations.

    Args:
      function: function that returns one array.
      replaced: what to compute in place of which primitive.

    Returns:
      The function, without calls in calls and rules of differentiation.
    """

    def computed(inputs: Any) -> Any:
        program = jax.make_jaxpr(function)(inputs)
        return evaluate(program.jaxpr, program.consts, jax.tree.leaves(inputs), replaced)[0]

    return computed


def evaluate(
    jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any], replaced: Replacements
) -> list[Any]:
    """Computes a program by operations that convert, and without calls in calls.

    Args:
      jaxpr: the program.
      constants: values of its constants.
      inputs: its inputs.
      replaced: what to compute in place of which primitive.

    Returns:
      Its outputs.
    """
    values: dict[Any, Any] = {}
    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        given = [x.val if isinstance(x, core.Literal) else values[x] for x in equation.invars]
        outputs = _apply(equation, given, replaced)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [x.val if isinstance(x, core.Literal) else values[x] for x in jaxpr.outvars]


def _apply(equation: Any, given: list[Any], replaced: Replacements) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        # Rules of differentiation have no part in a program that is shipped.
        body = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
        closed = isinstance(body, core.ClosedJaxpr)
        jaxpr, constants = (body.jaxpr, body.consts) if closed else (body, ())
        return evaluate(jaxpr, constants, given, replaced)
    if name in replaced and (result := replaced[name](*given, **params)) is not None:
        return [result]
    outputs = equation.primitive.bind(*given, **params)
    return outputs if equation.primitive.multiple_results else [outputs]
