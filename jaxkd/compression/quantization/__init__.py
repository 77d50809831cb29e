"""Weights and activations in few bits, after training and during it.

`fold_batch_norm` first makes batch normalizations a part of the layers before them, and `calibrate`
finds fixed ranges of the activations, if such are wanted. `quantize` then replaces dense and
convolutional layers by ones of few bits; `fake_quantize` replaces them by layers that are trained
to become such, which `from_fake_quantized` then makes of them. Within `floating_layers` both
compute in floating point.

Needs the package qwix, which comes with `pip install 'jaxkd-distill[quantization]'`.
"""

from jaxkd.compression.quantization._precisions import LayerPrecision as LayerPrecision
from jaxkd.compression.quantization._quantized_layers import floating_layers as floating_layers
from jaxkd.compression.quantization.calibration import calibrate as calibrate
from jaxkd.compression.quantization.fake_quantize import fake_quantize as fake_quantize
from jaxkd.compression.quantization.fake_quantize import from_fake_quantized as from_fake_quantized
from jaxkd.compression.quantization.fold_batch_norm import fold_batch_norm as fold_batch_norm
from jaxkd.compression.quantization.quantize import quantize as quantize

__all__ = [
    "LayerPrecision",
    "calibrate",
    "fake_quantize",
    "floating_layers",
    "fold_batch_norm",
    "from_fake_quantized",
    "quantize",
]
