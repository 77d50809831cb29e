"""Dense and convolutional layers in few bits, as they are deployed."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression._layers import copy_attributes

INTEGERS = ("int8", "int4")
FLOATS = ("float8_e4m3fn", "float8_e5m2")


# Flax reads these from the layer when it is called; here they are methods.
HOOKS = ("dot_general", "conv_general_dilated", "promote_dtype")

# A part of the keys of `jax.jit`'s caches, so that no program is reused across the context.
FLOATING = jax.make_user_context(False)


def floating_layers() -> contextlib.AbstractContextManager[None]:
    """Makes quantized layers compute in floating point, where they are traced within it.

    Kernels have the values that their few bits stand for, inputs are not rounded, and only clipped
    to a fixed range if there is one. For runtimes that quantize for themselves, as LiteRT does: it
    finds the same integers for the kernels. Its int8 are symmetric, so that −128 becomes −127.

    Returns:
      A context manager.

    Example:
      >>> from jaxkd import compression, models
      >>> small = compression.quantize(models.MLP(4, (), 2, rngs=nnx.Rngs(0)))
      >>> inputs = jnp.ones((1, 4))
      >>> with floating_layers():
      ...   "i8[" in str(jax.make_jaxpr(lambda x: small(x)[0])(inputs))
      False
    """
    return FLOATING(True)


def qwix() -> Any:
    """Imports the package, which only quantization needs."""
    try:
        import qwix
    except ImportError as error:
        raise ImportError(
            "quantization needs the package qwix: pip install 'jaxkd-distill[quantization]'"
        ) from error
    return qwix


@functools.partial(jax.jit, static_argnums=1)
def quantized_kernel(kernel: jax.Array, dtype: str) -> Any:
    """Quantizes a kernel to a `qwix.QArray` with a scale for each output channel, the last axis."""
    return qwix().quantize(kernel, dtype, channelwise_axes=(kernel.ndim - 1,))


def floating_values(kernel: Any) -> jax.Array:
    """Returns the values of a quantized kernel, of int8 those of a symmetric range."""
    if kernel.qvalue.dtype == jnp.int8:
        kernel = qwix().QArray(jnp.maximum(kernel.qvalue, -127), kernel.scale)
    return qwix().dequantize(kernel)


def at_once(kernel: jax.Array) -> contextlib.AbstractContextManager[None]:
    """Makes operations on constants of a program run while it is traced."""
    traced = isinstance(kernel, jax.core.Tracer)
    return contextlib.nullcontext() if traced else jax.ensure_compile_time_eval()


def quantized_inputs(inputs: jax.Array, dtype: str, limit: Any, examples: int) -> Any:
    """Quantizes the inputs of a layer to a `qwix.QArray`.

    Args:
      inputs: inputs of the layer.
      dtype: type of the result.
      limit: largest absolute value that can be represented; None for separate scales along the
        leading axes, computed from the inputs.
      examples: number of these leading axes.

    Returns:
      A `qwix.QArray` of the shape of `inputs`.
    """
    if limit is None:
        return qwix().quantize(inputs, dtype, channelwise_axes=tuple(range(examples)))
    # Qwix takes fixed ranges as Python numbers, so the range is divided out before.
    limit = jnp.maximum(limit, jnp.finfo(jnp.float32).tiny).astype(inputs.dtype)
    unit = qwix().quantize(inputs / limit, dtype, calibration_method="fixed,-1,1")
    return qwix().QArray(unit.qvalue, unit.scale * limit)


def clipped(inputs: jax.Array, limit: jax.Array | None) -> jax.Array:
    """Returns inputs within a range, if there is one."""
    if limit is None:
        return inputs
    edge = limit.astype(inputs.dtype)
    return jnp.clip(inputs, -edge, edge)


class _Quantized:
    """The common part of quantized layers: integers and scales as parameters, products by Qwix."""

    def __init__(self, layer: Any, weights: str, activations: str | None, limit: Any):
        """Quantizes the layer's kernel; `limit` is the static range of its inputs, if any."""
        training = ("product", "use_running_average", "percentile")
        copy_attributes(self, layer, without=("kernel", *training, *HOOKS))  # type: ignore[arg-type]
        kernel = quantized_kernel(layer.kernel[...], weights)
        self.kernel, self.kernel_scale = nnx.Param(kernel.qvalue), nnx.Param(kernel.scale)
        self.weights, self.activations = weights, activations
        self.input_range = None if limit is None else nnx.Param(jnp.asarray(limit, jnp.float32))
        # A fake-quantized layer has the method of the float layer beside its own.
        self.promote = getattr(layer, "promote", layer.promote_dtype)

    def promote_dtype(self, arrays: Any, *, dtype: Any = None) -> tuple[Any, Any, Any]:
        """Promotes inputs and bias; the kernel stays in its few bits."""
        inputs, kernel, bias = arrays
        # The scales have the type that the kernel had, and so determine the type of the result.
        inputs, _, bias = self.promote((inputs, self.kernel_scale[...], bias), dtype=dtype)
        return inputs, kernel, bias

    def _operands(self, inputs: jax.Array, kernel: jax.Array, examples: int) -> tuple[Any, Any]:
        limit = None if self.input_range is None else self.input_range[...]
        if FLOATING.value:
            with at_once(kernel):
                values = floating_values(qwix().QArray(kernel, self.kernel_scale[...]))
            return clipped(inputs, limit), values.astype(inputs.dtype)
        scaled = qwix().QArray(kernel, self.kernel_scale[...].astype(inputs.dtype))
        if self.activations is None:
            return inputs, scaled
        return quantized_inputs(inputs, self.activations, limit, examples), scaled


class QuantizedLinear(_Quantized, nnx.Linear):  # type: ignore[misc]
    """An `nnx.Linear` whose kernel is stored in few bits; made by `quantize`."""

    __call__ = nnx.Linear.__call__  # Defined in this class, as nnx.capture demands.

    def dot_general(
        self, inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
    ) -> jax.Array:
        """Computes the product, in integers if the inputs are quantized too."""
        del options  # precision and the like do not apply to integers
        operands = self._operands(inputs, kernel, inputs.ndim - 1)
        return qwix().dot_general(*operands, dimension_numbers)


class QuantizedConv(_Quantized, nnx.Conv):  # type: ignore[misc]
    """An `nnx.Conv` whose kernel is stored in few bits; made by `quantize`."""

    __call__ = nnx.Conv.__call__  # Defined in this class, as nnx.capture demands.

    def conv_general_dilated(
        self, inputs: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
    ) -> jax.Array:
        """Computes the convolution, in integers if the inputs are quantized too."""
        if self.activations == "int8" and self.weights == "int4" and not FLOATING.value:
            kernel = kernel.astype(jnp.int8)  # XLA convolves two of one type only.
        operands = self._operands(inputs, kernel, 1)
        kept = ("lhs_dilation", "rhs_dilation", "dimension_numbers", "feature_group_count")
        return qwix().conv_general_dilated(
            *operands, strides, padding, **{name: options[name] for name in kept}
        )
