"""Weights and activations in few bits, after training and during it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxkd.compression import _quantized_layers as quantized_layers
from jaxkd.compression._layers import check_used, chosen, layers_of, replaced
from jaxkd.compression.calibration import check_percentile

_WEIGHTS = (*quantized_layers.INTEGERS, *quantized_layers.FLOATS)
_ACTIVATIONS = ("int8", *quantized_layers.FLOATS)
_MADE: dict[bool, dict[Any, Any]] = {
    False: {
        nnx.Linear: quantized_layers.QuantizedLinear,
        nnx.Conv: quantized_layers.QuantizedConv,
    },
    True: {
        nnx.Linear: quantized_layers.FakeQuantizedLinear,
        nnx.Conv: quantized_layers.FakeQuantizedConv,
    },
}


@dataclasses.dataclass(frozen=True)
class Precision:
    """In what a layer keeps its kernel and takes its inputs.

    Attributes:
      weights: `"int8"`, `"int4"`, `"float8_e4m3fn"` or `"float8_e5m2"`.
      activations: `"int8"` or a float8; None for inputs as they come, with the kernel widened to
        their type just before the product.

    Raises:
      ValueError: another type, or integers with a float8.

    Example:
      >>> Precision("int4", "int8")
      Precision(weights='int4', activations='int8')
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


def quantize(
    model: nnx.Module,
    *,
    weights: str = "int8",
    activations: str | None = "int8",
    rules: Mapping[str, Precision | None] | None = None,
    ranges: Mapping[str, float] | None = None,
) -> nnx.Module:
    """The module with its dense and convolutional layers in few bits.

    Every `nnx.Linear` and `nnx.Conv` gives way to a layer whose `kernel` is a parameter of the
    narrow type, with a scale for each output channel (`kernel_scale`). Inputs are quantized
    symmetrically: with a scale of each example (each token) found when the layer is called, or with
    one number from `calibrate`. Products of two int8 are summed in int32. Biases, normalizations,
    embeddings and products between activations (attention) stay as they are.

    The result is an ordinary module: `jaxkd.from_nnx`, `parameter_bytes`, `jaxkd.weights.save` and
    `jax.export` take it. The arguments are plain data; with them a fresh module becomes one that
    saved weights fit into:

        network = jaxkd.from_nnx(nnx.eval_shape(lambda: quantize(make(), **arguments)))
        network, _ = jaxkd.weights.load(network, "int8.npz")

    Fold batch normalization first (`fold_batch_norm`): in the kernel it costs nothing, and the
    scales of the channels take it up. Linen modules are quantized by `qwix.quantize_model`, whose
    result `jaxkd.from_linen` takes; here its providers are not used, since they refuse
    convolutions whose inputs stay floating, and bind static ranges to the length of a text.

    Args:
      model: the module, trained. Not changed.
      weights: type of the kernels: `"int8"`, `"int4"`, `"float8_e4m3fn"`, `"float8_e5m2"`.
      activations: type of the inputs, `"int8"` or the same float8; None leaves them floating, so
        that only memory is saved. On CPU float8 is emulated.
      rules: regular expression for the whole path of a layer → its `Precision`, or None to leave it
        as it is; the first that fits counts. `{"head": None}` leaves out the last layer.
      ranges: path → largest absolute input, from `calibrate`, for all layers whose activations are
        quantized. Those of other layers are not used.

    Returns:
      A copy. It can be called and exported, not trained.

    Raises:
      ImportError: without the package qwix.
      ValueError: types that do not go together, a rule that fits no layer, missing or additional
        ranges, ranges where no activations are quantized, a convolution with a mask, nothing to
        quantize.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> small = quantize(mlp, rules={"head": Precision("int4", None)})
      >>> small(jnp.ones((2, 64)))[0].shape, small.layers[0].kernel.dtype.name
      ((2, 10), 'int8')
      >>> [jaxkd.compression.parameter_bytes(jaxkd.from_nnx(m).params) for m in (mlp, small)]
      [19240, 5008]

    References:
      Jacob et al., Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference, CVPR 2018. Micikevicius et al., FP8 Formats for Deep
      Learning, 2022.
    """
    layers = layers_of(model, tuple(_MADE[False]))
    precisions = _precisions(layers, Precision(weights, activations), rules or {}, ranges)
    return _made(model, layers, precisions, ranges)


def fake_quantized(
    model: nnx.Module,
    *,
    weights: str = "int8",
    activations: str | None = "int8",
    rules: Mapping[str, Precision | None] | None = None,
    ranges: Mapping[str, float] | None = None,
    percentile: float = 100.0,
) -> nnx.Module:
    """The module computing as if it were quantized, to be trained so.

    Kernels stay floating-point parameters; in the forward pass kernels and inputs are rounded to
    the values that the quantized layer will have, and gradients pass the rounding as if it were
    not there. With `ranges` those of the inputs are a part of the network's state: they start as
    calibrated and follow the training batches as running averages (0.99 of the old), and inputs
    beyond have no gradient. What results is trained like any network, with a teacher online or a
    cache: the float network teaches the quantized one, and a cache of its answers stays valid.

    Args:
      model: the module to start from, usually trained. Not changed.
      weights: as for `quantize`.
      activations: as for `quantize`.
      rules: as for `quantize`.
      ranges: as for `quantize`; None for scales found when a layer is called.
      percentile: the one that `calibrate` was given, for the ranges to follow the same of the
        training batches; 100 is the maximum.

    Returns:
      A copy. `from_fake_quantized` makes it the quantized module.

    Raises:
      ImportError: without the package qwix.
      ValueError: as `quantize`; a percentile beyond 100 or not above 0, or one without ranges.

    Example:
      A float network teaches its int8 self; any objective and any cache of the teacher would do.

      >>> import jax, jax.numpy as jnp, optax
      >>> import jaxkd
      >>> from jaxkd import losses
      >>> model = jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0))  # trained already
      >>> fake = fake_quantized(model, weights="int4")
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
    layers = layers_of(model, tuple(_MADE[True]))
    precisions = _precisions(layers, Precision(weights, activations), rules or {}, ranges)
    return _made(model, layers, precisions, ranges, percentile)


def from_fake_quantized(model: nnx.Module) -> nnx.Module:
    """The quantized module that a trained `fake_quantized` one computes as.

    Their outputs in evaluation agree but for the order of floating-point sums; now and then that
    rounds an input of a later layer to its neighbor.

    Args:
      model: made by `fake_quantized`, with trained variables: `jaxkd.networks.to_nnx(network,
        model)` puts them there. Not changed.

    Returns:
      A copy, as `quantize` makes it.

    Raises:
      ValueError: no layer of it is fake-quantized.
    """
    fake = layers_of(model, tuple(_MADE[True].values()))
    if not fake:
        raise ValueError(
            f"{type(model).__name__} has no fake-quantized layer: make it with fake_quantized and "
            "train it, or quantize it as it is with quantize"
        )
    made = {}
    for path, layer in fake.items():
        dense = isinstance(layer, nnx.Linear)
        limit = None if layer.input_range is None else layer.input_range[...]
        make = _MADE[False][nnx.Linear if dense else nnx.Conv]
        made[path] = make(layer, layer.weights, layer.activations, limit)
    return replaced(model, made)


def _precisions(
    layers: Mapping[str, Any],
    default: Precision,
    rules: Mapping[str, Precision | None],
    ranges: Mapping[str, float] | None,
) -> dict[str, Precision]:
    """What each layer gets, after all that could be wrong is known to be right."""
    quantized_layers.qwix()
    check_used(rules, layers, "layer that can be quantized (nnx.Linear, nnx.Conv)")
    wanted = {path: chosen(path, rules, default) for path in layers}
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


def _made(
    model: nnx.Module,
    layers: Mapping[str, Any],
    precisions: Mapping[str, Precision],
    ranges: Mapping[str, float] | None,
    percentile: float | None = None,
) -> nnx.Module:
    """The module with other layers: with a percentile those that are trained."""
    of_training = () if percentile is None else (percentile,)
    made = {}
    for path, precision in precisions.items():
        static = ranges is not None and precision.activations is not None
        limit = ranges[path] if static and ranges is not None else None
        make = _MADE[percentile is not None][type(layers[path])]
        few = (precision.weights, precision.activations)
        made[path] = make(layers[path], *few, limit, *of_training)
    return replaced(model, made)
