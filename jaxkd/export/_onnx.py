"""Conversion to ONNX by jax2onnx, of a program of plain operations."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.export._inputs import batched, names_of
from jaxkd.export._programs import ExportError, Forward
from jaxkd.export._replaced import Replacements, evaluate
from jaxkd.ops import xla_convolutions

_EXTRA = (
    "pip install 'jaxkd-distill[onnx-export]' (in a fresh environment, since jax2onnx needs "
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
            lambda *inputs: evaluate(program.jaxpr, program.consts, inputs, _REPLACED)[0],
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


def _window_max(
    x: Any,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Any:
    """Computes maxima over windows of space by Flax's pooling; None where it cannot."""
    # Of this one jax2onnx makes pooling over all axes, batch and channels as well, for which ONNX
    # Runtime has no code; of Flax's, which it replaces while it traces, pooling over space.
    if max(*base_dilation, *window_dilation) > 1 or x.ndim < 3:
        return None
    if any(window_dimensions[axis] > 1 or max(padding[axis]) for axis in (0, -1)):
        return None
    x = _pad(x, _lowest(x.dtype), padding_config=[(low, high, 0) for low, high in padding])
    if x is None:
        return None
    window, strides = tuple(window_dimensions[1:-1]), tuple(window_strides[1:-1])
    return nnx.max_pool(x, window_shape=window, strides=strides, padding="VALID")


def _pad(x: Any, value: Any, *, padding_config: Sequence[tuple[int, int, int]]) -> Any:
    """Computes padding by concatenation; None where it cannot."""
    # jax2onnx cannot pad arrays of any batch size.
    if x.dtype == bool or any(k or min(i, j) < 0 for i, j, k in padding_config):
        return None
    for axis, (low, high, _) in enumerate(padding_config):
        if low or high:
            row = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
            row = jnp.maximum(jnp.minimum(row, _lowest(x.dtype)), value)  # the value alone
            x = jax.lax.concatenate([row] * low + [x] + [row] * high, axis)
    return x


def _lowest(dtype: Any) -> Any:
    exact = jnp.issubdtype(dtype, jnp.integer)
    return np.asarray(jnp.iinfo(dtype).min if exact else -np.inf, dtype)


_REPLACED: Replacements = {
    "reduce_window_max": _window_max,
    "pad": _pad,
}
