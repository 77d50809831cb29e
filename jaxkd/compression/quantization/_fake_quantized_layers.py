"""Dense and convolutional layers that compute as if they were quantized, as they are trained."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression._layers import copy_attributes
from jaxkd.compression.quantization._quantized_layers import (
    FLOATING,
    HOOKS,
    at_once,
    clipped,
    floating_values,
    quantized_inputs,
    quantized_kernel,
    qwix,
)
from jaxkd.compression.quantization.calibration import range_of

# Share of the old range that a training step keeps.
_DECAY = 0.99


class InputRange(nnx.Variable):
    """The largest absolute input of a layer, followed during training; a part of the state."""


class _FakeQuantized:
    """The common part of layers in training: rounded forward, straight through backward."""

    def __init__(
        self, layer: Any, weights: str, activations: str | None, limit: Any, percentile: float
    ):
        """Takes the layer's float kernel; `limit` is the initial range of its inputs."""
        copy_attributes(self, layer, without=HOOKS)  # type: ignore[arg-type]
        self.weights, self.activations, self.percentile = weights, activations, percentile
        self.promote = layer.promote_dtype
        self.input_range = None if limit is None else InputRange(jnp.asarray(limit, jnp.float32))
        self.use_running_average = False
        self.product = getattr(layer, "dot_general", None) or layer.conv_general_dilated

    def promote_dtype(self, arrays: Any, *, dtype: Any = None) -> tuple[Any, Any, Any]:
        """Rounds the kernel in the type in which it is stored, and then promotes it."""
        inputs, kernel, bias = arrays
        if FLOATING.value:
            with at_once(kernel):
                values = floating_values(quantized_kernel(kernel, self.weights))
            return self.promote((inputs, values, bias), dtype=dtype)
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
            inputs = clipped(inputs, limit)
        if FLOATING.value:
            return inputs
        rounded = quantized_inputs(fixed, self.activations, limit, examples)
        return _straight_through(inputs, rounded)


class FakeQuantizedLinear(_FakeQuantized, nnx.Linear):  # type: ignore[misc]
    """An `nnx.Linear` that computes as if it were quantized; made by `fake_quantize`."""

    __call__ = nnx.Linear.__call__  # Defined in this class, as nnx.capture demands.

    def dot_general(
        self, inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
    ) -> jax.Array:
        """Computes the product of rounded numbers, in floating point."""
        inputs = self._rounded(inputs, inputs.ndim - 1)
        return self.product(inputs, kernel, dimension_numbers, **options)


class FakeQuantizedConv(_FakeQuantized, nnx.Conv):  # type: ignore[misc]
    """An `nnx.Conv` that computes as if it were quantized; made by `fake_quantize`."""

    __call__ = nnx.Conv.__call__  # Defined in this class, as nnx.capture demands.

    def conv_general_dilated(
        self, inputs: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
    ) -> jax.Array:
        """Computes the convolution of rounded numbers, in floating point."""
        inputs = self._rounded(inputs, 1)
        return self.product(inputs, kernel, strides, padding, **options)


def _straight_through(values: jax.Array, rounded: Any) -> jax.Array:
    """Returns the rounded values, with the gradient of the values (Bengio et al., 2013)."""
    # Not `values + stop_gradient(rounded - values)`, whose sum would be rounded a second time.
    return qwix().dequantize(rounded) + (values - jax.lax.stop_gradient(values))
