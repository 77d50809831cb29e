"""Conversion of StableHLO to LiteRT, without TensorFlow."""

import contextlib
import importlib.util
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.compression import floating_layers
from jaxkd.export._programs import ExportError, Forward, lower
from jaxkd.export._replaced import Replacements, with_replacements

# Operations of a converted program beside those of LiteRT, `tfl.*`.
_PLAIN = frozenset({"builtin.module", "func.func", "func.return", "arith.constant"})
_EXTRA = (
    "pip install 'jaxkd-distill[litert]' (343 MB; in a fresh environment if pip finds no versions "
    "that fit)"
)


def require(*, int8: bool) -> None:
    """Checks for the packages.

    Args:
      int8: whether weights are quantized, for which a further package is needed.

    Raises:
      ImportError: one is missing; the message names the extra.
    """
    for package in ("litert_converter", "ai_edge_litert", *(["litert_quantizer"] * int8)):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"exporting for LiteRT needs the package {package}: {_EXTRA}")


def program(function: Forward, like: Any, batch: int | None, *, floating: bool = False) -> str:
    """Returns what `convert` takes.

    Args:
      function: function made by `jaxkd.export._programs.forward`.
      like: shape and type of one example, or name → shape and type.
      batch: size of the leading axis; None for any.
      floating: whether quantized layers compute in floating point, for `quantize`.

    Returns:
      StableHLO as text.
    """
    with floating_layers() if floating else contextlib.nullcontext():
        return lower(with_replacements(function, _REPLACED), like, batch, ("cpu",)).mlir_module()


def convert(program: str, names: Sequence[str]) -> bytes:
    """Converts a program to a `.tflite` in the types that it computes in.

    Args:
      program: StableHLO made by `program`.
      names: names of its inputs.

    Returns:
      The contents of the file.

    Raises:
      ExportError: LiteRT has no operation for a part of the network; the message names it.
    """  # noqa: DOC501 (`_refusal` makes the ExportError)
    from litert_converter.mlir import ir, passmanager
    from litert_converter.mlir._mlir_libs import converter_api_ext as converter

    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(program)
        try:
            converter.run_convert_to_tfl_passes(
                module, passmanager.PassManager(), converter.ConvertToTFLConfig()
            )
        except ValueError as error:
            raise _refusal(set(re.findall(r"operation '([\w.]+)'", str(error))), error) from error
        # The converter writes some foreign operations that no interpreter runs.
        if foreign := _foreign(module, ir):
            raise _refusal(foreign)
        converter.set_signature(module.operation, "serving_default", list(names), ["logits"])
        try:
            return bytes(converter.export_flatbuffer_to_bytes(module.operation))
        except ValueError as error:
            raise _refusal(set(), error) from error


def quantize(program: bytes) -> bytes:
    """Quantizes the weights of a float `.tflite` to int8, with a scale for each channel.

    Activations are quantized when the program runs. Layers of fewer than 1,024 weights stay as they
    are: they take hardly any space, and quantizing their activations takes longer than it saves.

    Args:
      program: contents of a file made by `convert`, for a fixed batch.

    Returns:
      The contents of the quantized file.
    """
    from litert_quantizer import Quantizer, recipe

    quantizer = Quantizer(program, recipe.dynamic_legacy_wi8_afp32())
    # It prints progress bars even where these are switched off.
    with contextlib.redirect_stderr(io.StringIO()):
        done = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(done.quantized_model)


def _window_sum(
    x: Any,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Any:
    """Computes sums over windows of images as the converter takes them; None where it cannot."""
    if x.ndim != 4 or max(*base_dilation, *window_dilation) > 1 or x.dtype != jnp.float32:
        return None
    if any(window_dimensions[axis] > 1 or max(padding[axis]) for axis in (0, -1)):
        return None
    if not isinstance(x.shape[0], int):
        # Of any batch size it takes no windows, but convolutions of each channel with ones.
        kernel = jnp.ones((*window_dimensions[1:3], 1, x.shape[-1]), x.dtype)
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides[1:3],
            padding[1:3],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )
    if not any(map(any, padding)):
        return None
    # Windows that reach into padding convert neither as sums nor divided by their size; a mean over
    # windows inside of a padded image is LiteRT's average pooling.
    zero, size = jnp.zeros((), x.dtype), math.prod(window_dimensions)
    x = jax.lax.pad(x, zero, [(low, high, 0) for low, high in padding])
    windows, strides = tuple(window_dimensions), tuple(window_strides)
    return jax.lax.reduce_window(x, zero, jax.lax.add, windows, strides, "VALID") / size * size


_REPLACED: Replacements = {"reduce_window_sum": _window_sum}


def _foreign(module, ir) -> set[str]:
    """Operations that are not LiteRT's, and loops and branches, which the converter cannot save."""
    found: set[str] = set()

    def look(operation):
        name, parent = operation.name, operation.parent
        if parent is not None and parent.name not in _PLAIN:
            return ir.WalkResult.ADVANCE  # the operation around it is named
        inner = [region for region in operation.regions if len(list(region.blocks))]
        if name.startswith("tfl."):
            if inner:
                found.add(name)
        elif name == "stablehlo.custom_call":
            found.add(f"{name} {operation.attributes['call_target_name']}")
        elif name not in _PLAIN:
            found.add(name)
        return ir.WalkResult.ADVANCE

    module.operation.walk(look)
    return found


def _refusal(operations: set[str], error: Exception | None = None) -> ExportError:
    named = ", ".join(sorted(operations)) or "an operation that the converter does not name"
    # The first line has a position in the source and the error; the following lines are the source.
    first = str(error).partition("\n")[0].rpartition("error: ")[2] if error else ""
    detail = f" ({first[:300]})" if first else ""
    return ExportError(
        f"LiteRT cannot run a part of the network: {named}{detail}. Export it as StableHLO, or "
        "change the network: lax loops can be unrolled, sorting, Fourier transforms and linear "
        "algebra have no operation there, and a quantized network becomes formats=['litert_int8']"
    )
