"""Batch normalization made a part of the layer before it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression._layers import Watched, layers_of, replaced
from jaxkd.networks import from_nnx

# Of the largest output. Rounding stays far below, whatever else a layer's output goes to far above.
_TOLERANCE = 1e-3


class Folded(nnx.Module):
    """What stands where a normalization was: nothing is left to do."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """The inputs."""
        return inputs


def fold_batch_norm(model: nnx.Module, inputs: Any) -> nnx.Module:
    """The module in evaluation with batch normalizations inside the layers before them.

    In evaluation `norm(conv(x))` is one convolution with other weights and a bias, to the rounding
    of floating point. Which normalization follows which layer is found by a pass through the
    module. One that does not directly follow a dense or convolutional layer (it comes after an
    addition or a ReLU) stays as it is. Fold before quantizing and before export.

    Args:
      model: the module, trained. Not changed.
      inputs: a batch as it takes, `[batch, ...]`, for the pass and for a check with other, random
        statistics; two examples will do.

    Returns:
      A copy whose layers have the bias they need. It is for evaluation: training it would leave
      the statistics as they are.

    Raises:
      ValueError: outputs of a layer are normalized and used elsewhere as well; names the layers.

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
    shaken = _shaken(model)
    if pairs and not _agree(shaken, _folded(shaken, pairs), inputs):
        wrong = [
            layer
            for layer, norm in pairs.items()
            if not _agree(shaken, _folded(shaken, {layer: norm}), inputs)
        ]
        raise ValueError(
            f"the outputs of {wrong} are normalized and used elsewhere as well, so that the "
            "normalization cannot be a part of the layer: give the module a second layer there, or "
            "quantize it without folding"
        )
    return _folded(model, pairs)


def _pairs(model: nnx.Module, inputs: Any) -> dict[str, str]:
    """Path of a layer → path of the normalization that takes its output as it is."""
    made: list[tuple[str, Any]] = []
    taken: list[tuple[str, Any]] = []

    def watch(path: str, layer: Any) -> Watched:
        if isinstance(layer, nnx.BatchNorm):
            return Watched(layer, lambda before, after: taken.append((path, before)))
        return Watched(layer, lambda before, after: made.append((path, after)))

    layers = layers_of(model, (nnx.Linear, nnx.Conv, nnx.BatchNorm))
    network = from_nnx(replaced(model, {path: watch(path, layers[path]) for path in layers}))
    jax.eval_shape(network.apply, network.params, network.state, inputs)
    pairs = {}
    for norm, before in taken:
        for layer, after in made:
            # Tracers are one object from where they are made to where they are used.
            if before is after and layers[norm].axis in (-1, after.ndim - 1):
                pairs[layer] = norm
    # What is called twice cannot have two normalizations inside, and a shared one not two layers.
    calls = [path for path, _ in made + taken]
    once = {path for path in calls if calls.count(path) == 1}
    return {layer: norm for layer, norm in pairs.items() if {layer, norm} <= once}


def _folded(model: nnx.Module, pairs: dict[str, str]) -> nnx.Module:
    layers = layers_of(model, (nnx.Linear, nnx.Conv, nnx.BatchNorm))
    instead: dict[str, nnx.Module] = {}
    for path, norm_path in pairs.items():
        layer, norm = layers[path], layers[norm_path]
        factor = jax.lax.rsqrt(norm.var[...] + norm.epsilon)
        factor = factor if norm.scale is None else factor * norm.scale[...]
        bias = -norm.mean[...] if layer.bias is None else layer.bias[...] - norm.mean[...]
        bias = bias * factor
        bias = bias if norm.bias is None else bias + norm.bias[...]
        new = instead[path] = nnx.clone(layer)
        kernel = layer.kernel[...]
        new.kernel = nnx.Param((kernel * factor).astype(kernel.dtype))
        new.bias, new.use_bias = nnx.Param(bias.astype(kernel.dtype)), True
        instead[norm_path] = Folded()
    return replaced(model, instead)


def _shaken(model: nnx.Module) -> nnx.Module:
    """A copy with other statistics: those of a fresh module would hide what does not fit.

    In float32, so that the rounding of narrower types does not look like what does not fit.
    """
    model = nnx.clone(model)
    for _, variable in nnx.to_flat_state(nnx.state(model)):
        if jnp.issubdtype(variable.dtype, jnp.floating):
            variable.set_value(variable.get_value().astype(jnp.float32))
    for number, norm in enumerate(layers_of(model, nnx.BatchNorm).values()):
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
        # Of the products too, which accelerators would round.
        with jax.default_matmul_precision("highest"):
            return jax.jit(network.apply)(network.params, network.state, inputs)[0]

    pairs = zip(jax.tree.leaves(outputs(one)), jax.tree.leaves(outputs(other)), strict=True)
    return all(
        bool(jnp.max(jnp.abs(a - b)) <= _TOLERANCE * (jnp.max(jnp.abs(a)) + 1e-6)) for a, b in pairs
    )
