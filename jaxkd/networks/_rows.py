"""Whether a traced program treats every row of a batch by itself, decided without compiling it.

Each traced value is one of three things: made of rows, where row i along an axis comes from row i
of the inputs and from nothing else of them; uniform, without any dependence on the inputs, and
constant along some of its axes; or mixed. A rule says what an operation makes of its operands. An
operation without a rule mixes, which is always safe: the caller then tries the program.
"""

from collections.abc import Sequence
from typing import Any

from jax.extend import core as jex_core

from jaxkd.networks._row_rules import MIXED, RULES, Value, rule, shape_of, uniform


def rows_of(
    jaxpr: jex_core.Jaxpr, consts: Sequence[Value], arguments: Sequence[Value]
) -> list[Value]:
    """Follows rows through a traced function.

    Args:
      jaxpr: the function.
      consts: what is known of its constants.
      arguments: what is known of its arguments.

    Returns:
      What is known of each result.
    """
    known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Value:
        return uniform(shape_of(atom)) if isinstance(atom, jex_core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        known.update(zip(equation.outvars, _results(inputs, equation), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _results(inputs: list[Value], equation: Any) -> list[Value]:
    count, name = len(equation.outvars), equation.primitive.name
    if any(value.mixed for value in inputs):
        return [MIXED] * count
    if name in RULES:
        try:
            return RULES[name](inputs, equation)
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError):
            # Parameters of another release of JAX.
            return [MIXED] * count
    if any(value.axis is not None for value in inputs) or equation.effects:
        return [MIXED] * count
    return [uniform(shape_of(variable)) for variable in equation.outvars]


@rule(
    "checkpoint closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit "
    "pjit remat remat2"
)
def _call(inputs: list[Value], equation: Any) -> list[Value]:
    params = equation.params
    inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
    return _inside(inner, inputs)


def _inside(inner: Any, inputs: Sequence[Value]) -> list[Value]:
    closed = isinstance(inner, jex_core.ClosedJaxpr)
    body = inner.jaxpr if closed else inner
    consts = [uniform(shape_of(variable)) for variable in body.constvars]
    return rows_of(body, consts, inputs)


@rule("scan")
def _scan(inputs: list[Value], equation: Any) -> list[Value]:
    """Layers that are scanned, their carry made of rows; what is scanned over is stacked."""
    params = equation.params
    if "ft_in" in params:  # of newer releases of JAX
        count, num_carry, _ = (len(part) for part in params["ft_in"].unpack())
    else:
        count, num_carry = params["num_consts"], params["num_carry"]
    carries = inputs[count : count + num_carry]
    stacked = [
        uniform((), [axis - 1 for axis in value.constant if axis])
        if value.axis is None
        else MIXED
        if value.axis == 0
        else Value(value.axis - 1)
        for value in inputs[count + num_carry :]
    ]
    for _ in range(len(carries) + 2):  # until the carry is what it was, each only becoming less
        results = _inside(params["jaxpr"], [*inputs[:count], *carries, *stacked])
        joined = [_join(a, b) for a, b in zip(carries, results, strict=False)]
        if joined == carries:
            outputs = results[len(carries) :]
            return [*carries, *(_stack(value) for value in outputs)]
        carries = joined
    return [MIXED] * len(equation.outvars)


@rule("cond")
def _cond(inputs: list[Value], equation: Any) -> list[Value]:
    if inputs[0].axis is not None:
        return [MIXED] * len(equation.outvars)
    branches = [_inside(branch, inputs[1:]) for branch in equation.params["branches"]]
    results = branches[0]
    for other in branches[1:]:
        results = [_join(a, b) for a, b in zip(results, other, strict=True)]
    return results


def _join(one: Value, two: Value) -> Value:
    """Returns what is known of a value that is either of two."""
    if one.mixed or two.mixed:
        return MIXED
    if one.axis is None and two.axis is None:
        return Value(constant=one.constant & two.constant)
    axis = two.axis if one.axis is None else one.axis
    assert axis is not None
    return Value(axis) if one.fits(axis, 1) and two.fits(axis, 1) else MIXED


def _stack(value: Value) -> Value:
    if value.axis is not None:
        return Value(value.axis + 1)
    return value if value.mixed else Value(constant=frozenset(a + 1 for a in value.constant))
