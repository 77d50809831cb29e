"""A digest of what a function computes: equal in every process, whatever its code is called."""

import dataclasses
import enum
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np

# Equations whose result is that of a program inside, whatever the name of its parameter.
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2",
    "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin",
}  # fmt: skip
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
# Equations that place values or name them, and change none.
_PLACEMENTS = {
    "copy", "copy_p", "device_put", "mesh_cast", "name", "optimization_barrier", "reshard",
    "sharding_constraint",
}  # fmt: skip
# Parameters of equations whose text is their own.
_PLAIN = {str, bool, int, float, complex, bytes, type(None)}
# Equations whose computation is code that no program shows.
_OPAQUE = ("callback", "custom_call", "ffi", "pallas", "shard_map")


@dataclasses.dataclass(frozen=True)
class Trace:
    """What the program of a function shows without running it.

    Attributes:
      digest: equal for two functions whose programs compute the same from the same constants, in
        one version of JAX; None where a part of the program is not visible, as in a callback.
      coarse: whether rounding may show in the outputs: floats of fewer than 32 bits, or numbers
        that are rounded to integers.
      shapes: the pytree of the results, as `jax.ShapeDtypeStruct`.
    """

    digest: str | None
    coarse: bool
    shapes: Any


def trace(
    function: Callable[..., Any], *arguments: Any, numbers_are_literals: bool = False
) -> Trace:
    """Traces a function and digests the program; computes nothing.

    Jitted wrappers, names, line numbers, the order of independent equations, and equations that no
    result needs make no difference. The values of constants do: arrays that the function closes
    over, globals and attributes that it reads.

    Args:
      function: a function of pytrees of arrays.
      *arguments: arrays, or anything with a shape and a dtype.
      numbers_are_literals: whether an array of one number that the function closes over is the
        same as the number itself.

    Returns:
      The digest, and the shapes of the results.
    """
    # A function of its own: JAX keeps the program of one that it has traced, whatever was edited.
    closed, shapes = jax.make_jaxpr(lambda *given: function(*given), return_shape=True)(
        *jax.tree.map(_abstract, arguments)
    )
    digester = _Digester(numbers_are_literals)
    results = digester.closed(closed, _numbered(closed.jaxpr.invars))
    text = _digest(str(jax.tree.structure(shapes)), *results)
    return Trace(None if digester.opaque else f"sha256:{text}", digester.coarse, shapes)


def _abstract(leaf: Any) -> Any:
    """The shape of an array alone, without where it lies."""
    if not hasattr(leaf, "dtype"):
        return leaf
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(leaf.shape, dtype)


def _numbered(variables: Sequence[Any]) -> list[str]:
    return [f"argument {n} {_type(v.aval)}" for n, v in enumerate(variables)]


def _type(aval: Any) -> str:
    dtype = getattr(aval, "dtype", aval)
    name = _dtype_name(dtype) if isinstance(dtype, np.dtype) else dtype
    return f"{name}{getattr(aval, 'shape', '')}"


@functools.cache
def _dtype_name(dtype: np.dtype) -> str:
    return str(dtype)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class _Digester:
    """Digests every value of a program by the equation and the values that it is computed from."""

    def __init__(self, numbers_are_literals: bool = False) -> None:
        self.opaque = self.coarse = False
        self._numbers_are_literals = numbers_are_literals

    def closed(self, closed: Any, arguments: Sequence[str]) -> list[str]:
        """Digests of the results of a program with its constants."""
        values = {}
        for variable, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            values[variable] = self._constant(value)
            if self._numbers_are_literals and not np.ndim(value):
                values[variable] += _type(variable.aval)  # as of a literal
        return self._program(closed.jaxpr, values, arguments)

    def _program(self, program: Any, values: dict[Any, str], arguments: Sequence[str]) -> list[str]:
        values |= zip(program.invars, arguments, strict=True)

        def value_of(atom: Any) -> str:
            if isinstance(atom, jex.Literal):
                return self._constant(atom.val) + _type(atom.aval)
            return values[atom]

        for equation in program.eqns:
            results = self._equation(equation, [value_of(atom) for atom in equation.invars])
            values |= zip(equation.outvars, results, strict=True)
        return [value_of(atom) for atom in program.outvars]

    def _equation(self, equation: Any, inputs: list[str]) -> list[str]:
        name, params = equation.primitive.name, equation.params
        types = [variable.aval for variable in equation.outvars]
        self.coarse |= name == "round" or any(map(_is_short_float, types))
        body = next((params[key] for key in _BODIES if key in params), None)
        if name in _CALLS and body is not None:
            if isinstance(body, jex.ClosedJaxpr):
                return self.closed(body, inputs)
            return self._program(body, {}, inputs)
        if name in _PLACEMENTS or (self._numbers_are_literals and _keeps_type(equation)):
            return inputs
        self.opaque |= any(part in name for part in _OPAQUE)
        described = self._described(
            {key: value for key, value in params.items() if "sharding" not in key}
        )
        whole = _digest(name, described, *inputs)
        return [f"{whole} {n} {_type(aval)}" for n, aval in enumerate(types)]

    def _constant(self, value: Any) -> str:
        if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return f"key {jax.random.key_impl(value)} {self._constant(jax.random.key_data(value))}"
        if isinstance(value, jax.Array) and not value.is_fully_addressable:
            self.opaque = True
            return "spread over processes"
        array = np.asarray(value)
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return f"{array.dtype}{array.shape} {digest}"

    def _described(self, value: Any) -> str:
        """Text of a parameter of an equation; what has none makes the program opaque."""
        kind = type(value)
        # Most are plain, and looking up a method for each takes longer than all the rest.
        return f"{kind.__name__} {value!r}" if kind in _PLAIN else self._by_type(value)

    @functools.singledispatchmethod
    def _by_type(self, value: Any) -> str:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return type(value).__qualname__ + self._described(fields)
        if isinstance(value, np.dtype | type):
            return str(value)
        if isinstance(value, jax.tree_util.PyTreeDef) or type(value).__name__.startswith("FT"):
            return str(value)  # how arguments are nested, in two generations of JAX
        self.opaque = True
        return type(value).__qualname__

    @_by_type.register(str | int | float | complex | bytes)
    def _(self, value: Any) -> str:  # of classes derived from these
        return f"{type(value).__name__} {value!r}"

    @_by_type.register(enum.Enum)
    def _(self, value: Any) -> str:
        return str(value)

    @_by_type.register(tuple | list | frozenset | set)
    def _(self, value: Any) -> str:
        if type(value).__name__ == "PRNGImpl":  # a tuple of functions, with a name
            return value.name
        items = [self._described(item) for item in value]
        return f"({', '.join(sorted(items) if isinstance(value, set | frozenset) else items)})"

    @_by_type.register(Mapping)
    def _(self, value: Any) -> str:
        items = sorted((str(key), self._described(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {text}" for key, text in items) + "}"

    @_by_type.register(np.ndarray | np.generic | jax.Array)
    def _(self, value: Any) -> str:
        return self._constant(value)

    @_by_type.register(jex.ClosedJaxpr)
    def _(self, value: Any) -> str:
        return self._described(self.closed(value, _numbered(value.jaxpr.invars)))

    @_by_type.register(jex.Jaxpr)
    def _(self, value: Any) -> str:
        known = dict(zip(value.constvars, _numbered(value.constvars), strict=True))
        return self._described(self._program(value, known, _numbered(value.invars)))


def _keeps_type(equation: Any) -> bool:
    """Whether an equation makes of an array of a weak type one that is not weak, and no more."""
    if equation.primitive.name != "convert_element_type":
        return False
    return equation.invars[0].aval.dtype == equation.outvars[0].aval.dtype


def _is_short_float(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    floating = dtype is not None and jax.dtypes.issubdtype(dtype, np.floating)
    return floating and np.dtype(dtype).itemsize < 4
