"""Dense and convolutional layers in few bits: as they are deployed, and as they are trained."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression._layers import take_over
from jaxkd.compression.calibration import range_of

INTEGERS = ("int8", "int4")
FLOATS = ("float8_e4m3fn", "float8_e5m2")
# Flax reads these from the layer when it is called; here they are methods.
_HOOKS = ("dot_general", "conv_general_dilated", "promote_dtype")
# Share of the old range that a training step keeps.
_DECAY = 0.99


def qwix() -> Any:
    """The package, which only quantization needs."""
    try:
        import qwix
    except ImportError as error:
        raise ImportError(
            "quantization needs the package qwix: pip install 'jaxkd-distill[quantization]'"
        ) from error
    return qwix


class InputRange(nnx.Variable):
    """The largest absolute input of a layer, followed during training; a part of the state."""


@functools.partial(jax.jit, static_argnums=1)
def quantized_kernel(kernel: jax.Array, dtype: str) -> Any:
    """A `qwix.QArray` with a scale for each output channel, the last axis."""
    return qwix().quantize(kernel, dtype, channelwise_axes=(kernel.ndim - 1,))


def quantized_inputs(inputs: jax.Array, dtype: str, limit: Any, examples: int) -> Any:
    """A `qwix.QArray` of a layer's inputs.

    Args:
      inputs: of the layer.
      dtype: of the result.
      limit: largest absolute value that can be told apart; None for a scale of its own for
        everything along the leading axes.
      examples: how many leading axes these are.
    """
    if limit is None:
        return qwix().quantize(inputs, dtype, channelwise_axes=tuple(range(examples)))
    # Qwix takes fixed ranges as Python numbers, so the range is divided out before.
    limit = jnp.maximum(limit, jnp.finfo(jnp.float32).tiny).astype(inputs.dtype)
    unit = qwix().quantize(inputs / limit, dtype, calibration_method="fixed,-1,1")
    return qwix().QArray(unit.qvalue, unit.scale * limit)


class _Quantized:
    """What quantized layers share: integers and scales as parameters, products by Qwix."""

    def __init__(self, layer: Any, weights: str, activations: str | None, limit: Any):
        """Quantizes the layer's kernel; `limit` is the static range of its inputs, if any."""
        training = ("product", "use_running_average", "percentile")
        take_over(self, layer, without=("kernel", *training, *_HOOKS))  # type: ignore[arg-type]
        kernel = quantized_kernel(layer.kernel[...], weights)
        self.kernel, self.kernel_scale = nnx.Param(kernel.qvalue), nnx.Param(kernel.scale)
        self.weights, self.activations = weights, activations
        self.input_range = None if limit is None else nnx.Param(jnp.asarray(limit, jnp.float32))
        # A layer in training has the method of the float one beside its own.
        self.promote = getattr(layer, "promote", layer.promote_dtype)

    def promote_dtype(self, arrays: Any, *, dtype: Any = None) -> tuple[Any, Any, Any]:
        """The kernel stays in its few bits."""
        inputs, kernel, bias = arrays
        # The scales have the type that the kernel had, and say as much of the result's.
        inputs, _, bias = self.promote((inputs, self.kernel_scale[...], bias), dtype=dtype)
        return inputs, kernel, bias

    def _operands(self, inputs: jax.Array, kernel: jax.Array, examples: int) -> tuple[Any, Any]:
        scaled = qwix().QArray(kernel, self.kernel_scale[...].astype(inputs.dtype))
        if self.activations is None:
            return inputs, scaled
        limit = None if self.input_range is None else self.input_range[...]
        return quantized_inputs(inputs, self.activations, limit, examples), scaled


class QuantizedLinear(_Quantized, nnx.Linear):  # type: ignore[misc]
    """An `nnx.Linear` whose kernel is kept in few bits; made by `quantize`."""

    __call__ = nnx.Linear.__call__  # Of this very class, as nnx.capture wants it.

    def dot_general(
        self, inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
    ) -> jax.Array:
        """The product, in integers if the inputs are quantized too."""
        del options  # precision and the like say nothing to integers.
        operands = self._operands(inputs, kernel, inputs.ndim - 1)
        return qwix().dot_general(*operands, dimension_numbers)


class QuantizedConv(_Quantized, nnx.Conv):  # type: ignore[misc]
    """An `nnx.Conv` whose kernel is kept in few bits; made by `quantize`."""

    __call__ = nnx.Conv.__call__  # Of this very class, as nnx.capture wants it.

    def conv_general_dilated(
        self, inputs: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
    ) -> jax.Array:
        """The convolution, in integers if the inputs are quantized too."""
        if self.activations == "int8" and self.weights == "int4":
            kernel = kernel.astype(jnp.int8)  # XLA convolves two of one type only.
        operands = self._operands(inputs, kernel, 1)
        kept = ("lhs_dilation", "rhs_dilation", "dimension_numbers", "feature_group_count")
        return qwix().conv_general_dilated(
            *operands, strides, padding, **{name: options[name] for name in kept}
        )


class _FakeQuantized:
    """What layers in training share: rounded in the forward pass, straight through backwards."""

    def __init__(
        self, layer: Any, weights: str, activations: str | None, limit: Any, percentile: float
    ):
        """Takes the layer's float kernel over; `limit` is where the range of inputs starts."""
        take_over(self, layer, without=_HOOKS)  # type: ignore[arg-type]
        self.weights, self.activations, self.percentile = weights, activations, percentile
        self.promote = layer.promote_dtype
        self.input_range = None if limit is None else InputRange(jnp.asarray(limit, jnp.float32))
        self.use_running_average = False
        self.product = getattr(layer, "dot_general", None) or layer.conv_general_dilated

    def promote_dtype(self, arrays: Any, *, dtype: Any = None) -> tuple[Any, Any, Any]:
        """The kernel is rounded as it is kept, as when it is deployed, and then cast."""
        inputs, kernel, bias = arrays
        rounded = quantized_kernel(jax.lax.stop_gradient(kernel), self.weights)
        return self.promote((inputs, _straight_through(kernel, rounded), bias), dtype=dtype)

    def _rounded(self, inputs: jax.Array, examples: int) -> jax.Array:
        if self.activations is None:
            return inputs
        fixed, limit = jax.lax.stop_gradient(inputs), None
        if self.input_range is not None:
            limit = self.input_range[...]
            if not self.use_running_average:
                now = range_of(fixed, self.percentile)
                limit = self.input_range[...] = _DECAY * limit + (1 - _DECAY) * now
            # Inputs beyond the range do not move the outputs, and have no gradient.
            edge = limit.astype(inputs.dtype)
            inputs = jnp.clip(inputs, -edge, edge)
        rounded = quantized_inputs(fixed, self.activations, limit, examples)
        return _straight_through(inputs, rounded)


class FakeQuantizedLinear(_FakeQuantized, nnx.Linear):  # type: ignore[misc]
    """An `nnx.Linear` that computes as if it were quantized; made by `fake_quantized`."""

    __call__ = nnx.Linear.__call__  # Of this very class, as nnx.capture wants it.

    def dot_general(
        self, inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
    ) -> jax.Array:
        """The product of rounded numbers, in floating point."""
        inputs = self._rounded(inputs, inputs.ndim - 1)
        return self.product(inputs, kernel, dimension_numbers, **options)


class FakeQuantizedConv(_FakeQuantized, nnx.Conv):  # type: ignore[misc]
    """An `nnx.Conv` that computes as if it were quantized; made by `fake_quantized`."""

    __call__ = nnx.Conv.__call__  # Of this very class, as nnx.capture wants it.

    def conv_general_dilated(
        self, inputs: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
    ) -> jax.Array:
        """The convolution of rounded numbers, in floating point."""
        inputs = self._rounded(inputs, 1)
        return self.product(inputs, kernel, strides, padding, **options)


def _straight_through(values: jax.Array, rounded: Any) -> jax.Array:
    """The rounded values, with the gradient of the values themselves (Bengio et al., 2013)."""
    # Not `values + stop_gradient(rounded - values)`, whose sum would be rounded a second time.
    return qwix().dequantize(rounded) + (values - jax.lax.stop_gradient(values))
