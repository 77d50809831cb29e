"""Weights and activations in few bits, after training."""

from collections.abc import Mapping

from flax import nnx

from jaxkd.compression._layers import find_layers
from jaxkd.compression.quantization._precisions import (
    QUANTIZED,
    LayerPrecision,
    layer_precisions,
    quantize_layers,
)


def quantize(
    model: nnx.Module,
    *,
    weights: str = "int8",
    activations: str | None = "int8",
    rules: Mapping[str, LayerPrecision | None] | None = None,
    ranges: Mapping[str, float] | None = None,
) -> nnx.Module:
    """Replaces the dense and convolutional layers of a module by ones of few bits.

    Every `nnx.Linear` and `nnx.Conv` becomes a layer whose `kernel` is a parameter of the narrow
    type, with a scale for each output channel (`kernel_scale`). Inputs are quantized symmetrically:
    with a scale for each example (each token) that is computed when the layer is called, or with
    one number from `calibrate`. Products of two int8 are summed in int32. Biases, normalizations,
    embeddings and products between activations (attention) stay as they are.

    The result is an ordinary module: `jaxkd.from_nnx`, `parameter_bytes`, `jaxkd.weights.save` and
    `jax.export` take it. The arguments are plain data; with them a fresh module becomes one that
    saved weights fit into:

        network = jaxkd.from_nnx(nnx.eval_shape(lambda: quantize(make(), **arguments)))
        network, _ = jaxkd.weights.load(network, "int8.npz")

    Fold batch normalization first (`fold_batch_norm`): in the kernel it costs nothing, and the
    scales of the channels absorb it. Linen modules are quantized by `qwix.quantize_model`, whose
    result `jaxkd.from_linen` takes; here Qwix's providers are not used, since they refuse
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
      ImportError: the package qwix is missing.
      ValueError: types cannot be combined, a rule matches no layer, ranges are missing, additional
        or given where no activations are quantized, a convolution has a mask, or there is nothing
        to quantize.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> mlp = jaxkd.models.MLP(64, (64,), 10, rngs=nnx.Rngs(0))
      >>> small = quantize(mlp, rules={"head": LayerPrecision("int4", None)})
      >>> small(jnp.ones((2, 64)))[0].shape, small.layers[0].kernel.dtype.name
      ((2, 10), 'int8')
      >>> [jaxkd.compression.parameter_bytes(jaxkd.from_nnx(m).params) for m in (mlp, small)]
      [19240, 5008]

    References:
      Jacob et al., Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference, CVPR 2018. Micikevicius et al., FP8 Formats for Deep
      Learning, 2022.
    """
    layers = find_layers(model, tuple(QUANTIZED))
    precisions = layer_precisions(layers, LayerPrecision(weights, activations), rules or {}, ranges)
    return quantize_layers(
        model, layers, precisions, ranges, lambda layer, *how: QUANTIZED[type(layer)](layer, *how)
    )
