"""Conversion to ONNX by jax2onnx, of a program of plain operations."""

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxkd.export._inputs import batched, names_of
from jaxkd.export._programs import ExportError, Forward
from jaxkd.ops import xla_convolutions

_EXTRA = (
    "pip install 'jaxkd-distill[onnx-export]' (in an environment of its own, since jax2onnx needs "
    "an Orbax below 0.11.37)"
)


def require() -> None:
    """Checks for the packages.

    Raises:
      ImportError: one is missing; the message names the extra.
    """
    for package in ("jax2onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"exporting as ONNX needs the package {package}: {_EXTRA}")


def convert(function: Forward, like: Any, batch: int | None) -> bytes:
    """Converts a function to a `.onnx`.

    Args:
      function: function made by `jaxkd.export._programs.forward`.
      like: shape and type of one example, or name → shape and type.
      batch: size of the leading axis; None for any.

    Returns:
      The contents of the file.

    Raises:
      ExportError: jax2onnx has no conversion for a part of the network; the message has its error.
    """
    from jax2onnx import to_onnx

    size = jax.export.symbolic_shape("batch")[0] if batch is None else batch
    specs = batched(like, size)
    try:
        with xla_convolutions():
            program = jax.make_jaxpr(function)(specs)
        model = to_onnx(
            lambda *inputs: _evaluate(program.jaxpr, program.consts, inputs)[0],
            jax.tree.leaves(specs),
            model_name="network",
            input_names=names_of(like),
            output_names=["logits"],
        )
    except Exception as error:  # of the network, of JAX for symbolic sizes, of any plugin
        many = " for any batch size; give onnx_batch, or change the network" if not batch else ""
        raise ExportError(
            f"the network cannot be converted to ONNX{many}: {type(error).__name__}: "
            f"{str(error)[:1000]}"
        ) from error
    return model.SerializeToString()


def _evaluate(jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """Computes a program by operations that convert, and without calls in calls."""
    values: dict[Any, Any] = {}
    values.update(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        given = [x.val if isinstance(x, core.Literal) else values[x] for x in equation.invars]
        outputs = _apply(equation, given)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [x.val if isinstance(x, core.Literal) else values[x] for x in jaxpr.outvars]


def _apply(equation: Any, given: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        # Rules of differentiation have no part in a program that is shipped.
        body = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
        closed = isinstance(body, core.ClosedJaxpr)
        jaxpr, constants = (body.jaxpr, body.consts) if closed else (body, ())
        return _evaluate(jaxpr, constants, given)
    if name in _REPLACED and (result := _REPLACED[name](*given, **params)) is not None:
        return [result]
    outputs = equation.primitive.bind(*given, **params)
    return outputs if equation.primitive.multiple_results else [outputs]


_CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "remat"}
    | {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
)


def _window_max(
    x: Any,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Any:
    """Computes maxima over windows as maxima of strided slices; None where it cannot."""
    # jax2onnx makes one pooling over all axes of them, batch and channels as well, for which ONNX
    # Runtime has no code.
    if max(*base_dilation, *window_dilation) > 1:
        return None
    pads = [(low, high, 0) for low, high in padding]
    if any(low or high for low, high in padding):
        x = jax.lax.pad(x, jnp.asarray(_lowest(x.dtype), x.dtype), pads)
    for axis, (window, stride) in enumerate(zip(window_dimensions, window_strides, strict=True)):
        if window == stride == 1:
            continue
        count = (x.shape[axis] - window) // stride + 1
        parts = [
            jax.lax.slice_in_dim(x, at, at + (count - 1) * stride + 1, stride, axis)
            for at in range(window)
        ]
        x = functools.reduce(jax.lax.max, parts)
    return x


def _lowest(dtype: Any) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


_REPLACED: Mapping[str, Callable[..., Any]] = {"reduce_window_max": _window_max}
