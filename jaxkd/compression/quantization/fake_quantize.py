"""Training with simulated quantization."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from jaxkd.compression._layers import find_layers, replace_layers
from jaxkd.compression.quantization._precisions import (
    FAKE_QUANTIZED,
    QUANTIZED,
    LayerPrecision,
    layer_precisions,
    quantize_layers,
)
from jaxkd.compression.quantization.calibration import check_percentile


def fake_quantize(
    model: nnx.Module,
    *,
    weights: str = "int8",
    activations: str | None = "int8",
    rules: Mapping[str, LayerPrecision | None] | None = None,
    ranges: Mapping[str, float] | None = None,
    percentile: float = 100.0,
) -> nnx.Module:
    """Makes a module compute as if it were quantized, for training (QAT).

    Kernels stay floating-point parameters; in the forward pass kernels and inputs are rounded to
    the values that the quantized layer will have, and gradients pass the rounding as if it were
    not there. With `ranges` those of the inputs are a part of the network's state: they start as
    calibrated and follow the training batches as running averages (0.99 of the old), and inputs
    beyond have no gradient. The result is trained like any network, with a teacher online or a
    cache: the float network teaches the quantized one, and a cache of its outputs stays valid.

    Args:
      model: the module to start from, usually trained. Not changed.
      weights: as for `quantize`.
      activations: as for `quantize`.
      rules: as for `quantize`.
      ranges: as for `quantize`; None for scales that are computed when a layer is called.
      percentile: percentile that `calibrate` was called with; the ranges follow the same percentile
        of the training batches. 100 is the maximum.

    Returns:
      A copy, which `from_fake_quantized` turns into the quantized module.

    Raises:
      ImportError: the package qwix is missing.
      ValueError: as `quantize`; or the percentile is above 100 or not above 0, or without ranges.

    Example:
      A float network teaches its int4 version; any objective and any cache of the teacher would do.

      >>> import jax, jax.numpy as jnp, optax
      >>> import jaxkd
      >>> from jaxkd import losses
      >>> model = jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0))  # trained already
      >>> fake = fake_quantize(model, weights="int4")
      >>> teacher, student = jaxkd.from_nnx(model), jaxkd.from_nnx(fake)
      >>> objective = jaxkd.Objective(kd=jaxkd.Term(losses.kd, temperature=2.0))
      >>> step = jaxkd.make_train_step(student, objective, optax.adam(1e-2), teacher=teacher)
      >>> state = step.init()
      >>> batch = {"id": jnp.arange(8), "view": jnp.zeros(8, int), "labels": jnp.zeros(8, int),
      ...          "inputs": jax.random.normal(jax.random.key(0), (8, 4))}
      >>> for _ in range(3):
      ...   state, metrics = step(state, batch)
      >>> trained = jaxkd.networks.to_nnx(state.network(student), fake)
      >>> deployed = from_fake_quantized(trained)
      >>> deployed.head.kernel.dtype.name
      'int4'

    References:
      Jacob et al., CVPR 2018 (training with simulated quantization). Bengio et al., Estimating or
      Propagating Gradients Through Stochastic Neurons, 2013 (straight-through). Polino et al.,
      Model compression via distillation and quantization, ICLR 2018; Mishra and Marr, Apprentice,
      ICLR 2018 (a teacher for the quantized student).
    """
    check_percentile(percentile)
    if percentile != 100 and ranges is None:
        raise ValueError(
            f"percentile={percentile} says how ranges follow the batches, and there are none: give "
            "ranges= from calibrate, or leave it out"
        )
    layers = find_layers(model, tuple(FAKE_QUANTIZED))
    precisions = layer_precisions(layers, LayerPrecision(weights, activations), rules or {}, ranges)

    def make(layer: nnx.Module, *how: Any) -> nnx.Module:
        return FAKE_QUANTIZED[type(layer)](layer, *how, percentile)

    return quantize_layers(model, layers, precisions, ranges, make)


def from_fake_quantized(model: nnx.Module) -> nnx.Module:
    """Converts a module that was trained with `fake_quantize` into the quantized module.

    Their outputs in evaluation agree but for the order of floating-point sums, which now and then
    rounds an input of a later layer to the neighboring value.

    Args:
      model: a module made by `fake_quantize`, with trained variables: `jaxkd.networks.to_nnx(
        network, model)` puts them there. Not changed.

    Returns:
      A copy, as `quantize` makes it.

    Raises:
      ValueError: no layer of it is fake-quantized.

    Example:
      >>> import jaxkd
      >>> fake = fake_quantize(jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0)))
      >>> deployed = from_fake_quantized(fake)  # after the training of `fake`
      >>> fake.head.kernel.dtype.name, deployed.head.kernel.dtype.name
      ('float32', 'int8')
    """
    fake = find_layers(model, tuple(FAKE_QUANTIZED.values()))
    if not fake:
        raise ValueError(
            f"{type(model).__name__} has no fake-quantized layer: make it with fake_quantize and "
            "train it, or quantize it as it is with quantize"
        )
    new = {}
    for path, layer in fake.items():
        limit = None if layer.input_range is None else layer.input_range[...]
        make = QUANTIZED[nnx.Linear if isinstance(layer, nnx.Linear) else nnx.Conv]
        new[path] = make(layer, layer.weights, layer.activations, limit)
    return replace_layers(model, new)
