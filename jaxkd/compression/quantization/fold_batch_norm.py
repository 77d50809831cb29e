"""Batch normalization made a part of the layer before it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression._layers import CallRecorder, find_layers, replace_layers
from jaxkd.networks import from_nnx

# As a share of the largest output. Rounding stays far below it; outputs of a layer that are used
# elsewhere as well lead to differences far above it.
_TOLERANCE = 1e-3


class Folded(nnx.Module):
    """The identity, in the place of a normalization that was folded."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns the inputs."""
        return inputs


def fold_batch_norm(model: nnx.Module, inputs: Any) -> nnx.Module:
    """Makes batch normalizations a part of the layers before them.

    In evaluation `norm(conv(x))` is one convolution with other weights and a bias, up to the
    rounding of floating point. A forward pass finds which normalization follows which layer. One
    that does not directly follow a dense or convolutional layer (but an addition or a ReLU) stays
    as it is. Fold before quantization and before export.

    Args:
      model: the trained module. Not changed.
      inputs: a batch as the module takes it, `[batch, ...]`, for the forward pass and for a check
        with other, random statistics; two examples are enough.

    Returns:
      A copy whose layers have the bias that they need. It is for evaluation: training would leave
      the statistics as they are.

    Raises:
      ValueError: outputs of a layer are normalized and used elsewhere as well; the message names
        the layers.

    Example:
      >>> import jaxkd
      >>> net = jaxkd.models.ConvNet(1, 10, widths=(4,), strides=(2,), rngs=nnx.Rngs(0))
      >>> folded = fold_batch_norm(net, jnp.ones((2, 8, 8, 1)))
      >>> sorted(jaxkd.from_nnx(folded).params)
      ['convs.0.bias', 'convs.0.kernel', 'head.bias', 'head.kernel']

    Reference:
      Jacob et al., CVPR 2018, section 3.2.
    """
    pairs = _pairs(model, inputs)
    probe = _with_random_statistics(model)
    if pairs and not _agree(probe, _folded(probe, pairs), inputs):
        wrong = [
            layer
            for layer, norm in pairs.items()
            if not _agree(probe, _folded(probe, {layer: norm}), inputs)
        ]
        raise ValueError(
            f"the outputs of {wrong} are normalized and used elsewhere as well, so that the "
            "normalization cannot be a part of the layer: give the module a second layer there, or "
            "quantize it without folding"
        )
    return _folded(model, pairs)


def _pairs(model: nnx.Module, inputs: Any) -> dict[str, str]:
    """Path of a layer → path of the normalization that takes its output as it is."""
    layer_outputs: list[tuple[str, Any]] = []
    norm_inputs: list[tuple[str, Any]] = []

    def recorder(path: str, layer: Any) -> CallRecorder:
        if isinstance(layer, nnx.BatchNorm):
            return CallRecorder(layer, lambda inputs, _: norm_inputs.append((path, inputs)))
        return CallRecorder(layer, lambda _, outputs: layer_outputs.append((path, outputs)))

    layers = find_layers(model, (nnx.Linear, nnx.Conv, nnx.BatchNorm))
    recorders = {path: recorder(path, layer) for path, layer in layers.items()}
    network = from_nnx(replace_layers(model, recorders))
    jax.eval_shape(network.apply, network.params, network.state, inputs)
    pairs = {}
    for norm, taken in norm_inputs:
        for layer, made in layer_outputs:
            # A tracer is the same object from where it is made to where it is used.
            if taken is made and layers[norm].axis in (-1, made.ndim - 1):
                pairs[layer] = norm
    # A layer that is called twice cannot have two normalizations inside, and a normalization that
    # is called twice cannot be inside of two layers.
    calls = [path for path, _ in layer_outputs + norm_inputs]
    once = {path for path in calls if calls.count(path) == 1}
    return {layer: norm for layer, norm in pairs.items() if {layer, norm} <= once}


def _folded(model: nnx.Module, pairs: dict[str, str]) -> nnx.Module:
    layers = find_layers(model, (nnx.Linear, nnx.Conv, nnx.BatchNorm))
    replacement: dict[str, nnx.Module] = {}
    for path, norm_path in pairs.items():
        layer, norm = layers[path], layers[norm_path]
        factor = jax.lax.rsqrt(norm.var[...] + norm.epsilon)
        factor = factor if norm.scale is None else factor * norm.scale[...]
        bias = -norm.mean[...] if layer.bias is None else layer.bias[...] - norm.mean[...]
        bias = bias * factor
        bias = bias if norm.bias is None else bias + norm.bias[...]
        new = replacement[path] = nnx.clone(layer)
        kernel = layer.kernel[...]
        new.kernel = nnx.Param((kernel * factor).astype(kernel.dtype))
        new.bias, new.use_bias = nnx.Param(bias.astype(kernel.dtype)), True
        replacement[norm_path] = Folded()
    return replace_layers(model, replacement)


def _with_random_statistics(model: nnx.Module) -> nnx.Module:
    """Returns a copy with random statistics, scales and biases of its normalizations.

    Those of a fresh module (mean 0, variance 1) would make a wrong fold look right. In float32,
    since the rounding of narrower types would make a right one look wrong.
    """
    model = nnx.clone(model)
    for _, variable in nnx.to_flat_state(nnx.state(model)):
        if jnp.issubdtype(variable.dtype, jnp.floating):
            variable.set_value(variable.get_value().astype(jnp.float32))
    for number, norm in enumerate(find_layers(model, nnx.BatchNorm).values()):
        keys = jax.random.split(jax.random.key(number), 4)
        for key, name in zip(keys, ("mean", "var", "scale", "bias"), strict=True):
            variable = getattr(norm, name)
            if variable is not None:
                low = -0.5 if name in ("mean", "bias") else 0.5
                value = variable[...]
                variable[...] = jax.random.uniform(key, value.shape, value.dtype, low, low + 1)
    return model


def _agree(one: nnx.Module, other: nnx.Module, inputs: Any) -> bool:
    def outputs(model: nnx.Module) -> Any:
        network = from_nnx(model, dtype=jnp.float32)
        # Accelerators would round the products of float32.
        with jax.default_matmul_precision("highest"):
            return jax.jit(network.apply)(network.params, network.state, inputs)[0]

    pairs = zip(jax.tree.leaves(outputs(one)), jax.tree.leaves(outputs(other)), strict=True)
    return all(
        bool(jnp.max(jnp.abs(a - b)) <= _TOLERANCE * (jnp.max(jnp.abs(a)) + 1e-6)) for a, b in pairs
    )
