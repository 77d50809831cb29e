"""A linear classifier applied to the positions of a feature map."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxkd import ops
from jaxkd.networks._compose import add_outputs
from jaxkd.networks._network import Network, PyTree


def head_weights(params: PyTree, head: str = "head") -> tuple[jax.Array, jax.Array | None]:
    """Returns kernel `[width, num_classes]` and bias `[num_classes]` of a network's last layer.

    Args:
      params: parameters of a `Network`, flat by path (NNX) or nested (Linen).
      head: path of the layer, with dots.

    Returns:
      `(kernel, bias)`; no bias if the layer has none.

    Raises:
      ValueError: no such layer, or not a dense one.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> kernel, bias = head_weights(network.params)
      >>> kernel.shape, bias.shape
      ((32, 10), (10,))
    """
    if isinstance(params, Mapping) and f"{head}.kernel" in params:
        layer: Any = {name: params.get(f"{head}.{name}") for name in ("kernel", "bias")}
    else:
        layer = params
        for part in head.split("."):
            layer = layer.get(part, {}) if isinstance(layer, Mapping) else {}
    kernel = layer.get("kernel") if isinstance(layer, Mapping) else None
    if kernel is None or kernel.ndim != 2:
        found = sorted(params) if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(f"no dense layer {head!r} with a kernel among the parameters {found}")
    return kernel, layer.get("bias")


def class_maps(network: Network, *, feature: str, head: str = "head") -> Network:
    """Adds class activation maps to a network's outputs, as `"class_maps"`.

    Args:
      network: network whose logits are a dense layer on the global average of a map.
      feature: name of that map, `[batch, height, width, width of the head]`.
      head: path of the dense layer.

    Returns:
      A network with `"class_maps"` `[batch, height, width, num_classes]`, without the bias, so that
      their global average plus the bias are the logits.

    Example:
      >>> from flax import nnx
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> class_maps(network, feature="stage3")(jnp.ones((2, 28, 28, 1)))["class_maps"].shape
      (2, 7, 7, 10)

    References:
      Zhou et al., Learning Deep Features for Discriminative Localization, 2016.
    """
    head_weights(network.all_params(), head)

    def maps(params, outputs):
        return {"class_maps": outputs[feature] @ head_weights(params, head)[0]}

    return add_outputs(network, maps)


def region_logits(
    network: Network, *, feature: str, head: str = "head", levels: Sequence[int] = (1, 2, 4)
) -> Network:
    """Adds logits of image regions to a network's outputs, as `"regions"`.

    Args:
      network: network whose logits are a dense layer on the global average of a map.
      feature: name of that map.
      head: path of the dense layer.
      levels: numbers of divisions: a level of n divides the map in n × n regions.

    Returns:
      A network with `"regions"` `[batch, regions, num_classes]`; with the default levels region 0
      is the whole map, then come 4 quarters and 16 sixteenths, row by row.

    Example:
      >>> from flax import nnx
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> region_logits(network, feature="stage3")(jnp.ones((2, 28, 28, 1)))["regions"].shape
      (2, 21, 10)

    References:
      Luo, Scale Decoupled Distillation, CVPR 2024.
    """
    head_weights(network.all_params(), head)

    def regions(params, outputs):
        kernel, bias = head_weights(params, head)
        logits = ops.pyramid(outputs[feature], tuple(levels)) @ kernel
        return {"regions": logits if bias is None else logits + bias}

    return add_outputs(network, regions)
