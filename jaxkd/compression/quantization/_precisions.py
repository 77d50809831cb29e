"""Which layers are quantized, in which precision, and their replacement."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxkd.compression._layers import check_rules, first_match, replace_layers
from jaxkd.compression.quantization import _fake_quantized_layers as fake_quantized_layers
from jaxkd.compression.quantization import _quantized_layers as quantized_layers

# Layers that can be quantized, and what they become: for deployment and for training.
QUANTIZED: dict[type, Any] = {
    nnx.Linear: quantized_layers.QuantizedLinear,
    nnx.Conv: quantized_layers.QuantizedConv,
}
FAKE_QUANTIZED: dict[type, Any] = {
    nnx.Linear: fake_quantized_layers.FakeQuantizedLinear,
    nnx.Conv: fake_quantized_layers.FakeQuantizedConv,
}

_WEIGHTS = (*quantized_layers.INTEGERS, *quantized_layers.FLOATS)
_ACTIVATIONS = ("int8", *quantized_layers.FLOATS)


@dataclasses.dataclass(frozen=True)
class LayerPrecision:
    """The types in which a layer stores its kernel and takes its inputs.

    Attributes:
      weights: type of the kernel, `"int8"`, `"int4"`, `"float8_e4m3fn"` or `"float8_e5m2"`.
      activations: type of the inputs, `"int8"` or a float8; None for inputs as they are, with the
        kernel widened to their type just before the product.

    Raises:
      ValueError: a type is unknown, or integers are combined with a float8.

    Example:
      >>> LayerPrecision("int4", "int8")
      LayerPrecision(weights='int4', activations='int8')
    """

    weights: str = "int8"
    activations: str | None = "int8"

    def __post_init__(self):
        if self.weights not in _WEIGHTS:
            raise ValueError(f"weights must be one of {list(_WEIGHTS)}, not {self.weights!r}")
        if self.activations is None:
            return
        if self.activations not in _ACTIVATIONS:
            raise ValueError(
                f"activations must be None or one of {list(_ACTIVATIONS)}, not {self.activations!r}"
            )
        integers = [name in quantized_layers.INTEGERS for name in (self.weights, self.activations)]
        if integers[0] != integers[1] or (not integers[0] and self.weights != self.activations):
            raise ValueError(
                f"weights in {self.weights} cannot be multiplied with activations in "
                f"{self.activations}: give both integers, both the same float8, or "
                "activations=None"
            )


def layer_precisions(
    layers: Mapping[str, Any],
    default: LayerPrecision,
    rules: Mapping[str, LayerPrecision | None],
    ranges: Mapping[str, float] | None,
) -> dict[str, LayerPrecision]:
    """Chooses the precision of each layer that is quantized, and checks all arguments.

    Args:
      layers: path → layer, of those that can be quantized.
      default: precision of layers without a rule.
      rules: as for `quantize`.
      ranges: as for `quantize`.

    Returns:
      Path → precision, of the layers to quantize.

    Raises:
      ValueError: as `quantize`.
    """
    quantized_layers.qwix()
    check_rules(rules, layers, "layer that can be quantized (nnx.Linear, nnx.Conv)")
    wanted = {path: first_match(path, rules, default) for path in layers}
    precisions = {path: value for path, value in wanted.items() if value is not None}
    if not precisions:
        raise ValueError(
            f"nothing to quantize: there are the layers {list(layers)} (nnx.Linear, nnx.Conv), "
            f"and the rules {dict(rules)} leave all of them out"
        )
    masked = [path for path in precisions if getattr(layers[path], "mask", None) is not None]
    if masked:
        raise ValueError(f"convolutions with a mask cannot be quantized: {masked}")
    if ranges is not None:
        active = {path for path, value in precisions.items() if value.activations is not None}
        if not active:
            raise ValueError(
                "ranges are those of quantized inputs, and no activations are quantized: leave "
                "ranges out, or give activations"
            )
        missing, additional = sorted(active - ranges.keys()), sorted(ranges.keys() - set(layers))
        if missing or additional:
            raise ValueError(
                f"ranges are missing for {missing} and given for {additional}, which are no "
                "layers of this model: take those that calibrate returns for it"
            )
        wrong = {path: ranges[path] for path in active if not 0 <= ranges[path] < np.inf}
        if wrong:
            raise ValueError(f"ranges are largest absolute values, finite and >= 0, not {wrong}")
    return precisions


def quantize_layers(
    model: nnx.Module,
    layers: Mapping[str, Any],
    precisions: Mapping[str, LayerPrecision],
    ranges: Mapping[str, float] | None,
    make: Callable[..., nnx.Module],
) -> nnx.Module:
    """Replaces layers by quantized ones.

    Args:
      model: the module; not changed.
      layers: path → layer.
      precisions: path → precision, of the layers to replace.
      ranges: path → range of the inputs, if these are fixed.
      make: `make(layer, weights, activations, range)` returns the new layer.

    Returns:
      A copy with the new layers.
    """
    new = {}
    for path, precision in precisions.items():
        fixed = ranges is not None and precision.activations is not None
        limit = ranges[path] if fixed and ranges is not None else None
        new[path] = make(layers[path], precision.weights, precision.activations, limit)
    return replace_layers(model, new)
