"""Networks made shallower: complete blocks and layers left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from jaxkd.networks import from_nnx
from jaxkd.networks._network import dotted
from jaxkd.networks._outputs import logits_of
from jaxkd.strategies import evenly_spaced_layers


def drop_layers(
    model: nnx.Module, inputs: Any, keep: Mapping[str, int | Sequence[int]]
) -> tuple[nnx.Module, dict[str, list[int]]]:
    """Leaves out layers of a network: blocks beside a shortcut, layers of a transformer.

    The other layers keep their weights. Blocks that change the number of channels or the size of
    maps have no plain shortcut and cannot be left out.

    Args:
      model: an NNX module whose layers are in lists, called with the inputs alone. Its arrays are
        read, never changed.
      inputs: a batch as the module takes it; only shapes matter.
      keep: path of a list of layers in the given module, with dots (`"layers"`, `"stages.0"`) → the
        numbers of the layers that stay, or how many stay; these are then spread evenly, first and
        last among them, by `jaxkd.strategies.evenly_spaced_layers`.

    Returns:
      The shallower module, and path → ascending numbers of the layers that stayed: plain JSON,
      which makes the same of a freshly made module.

    Raises:
      ValueError: a path is no list of layers, layers do not exist, the network does not run without
        the others or has logits of another shape, or a list is inside of a layer that is left out.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import models
      >>> encoder = models.Encoder(32, 8, 4, 2, rngs=nnx.Rngs(0))
      >>> small, kept = drop_layers(encoder, jnp.ones((1, 5), jnp.int32), {"layers": 2})
      >>> len(small.layers), kept
      (2, {'layers': [0, 3]})

    References:
      Sanh et al., DistilBERT, 2019. Fan et al., Reducing Transformer Depth on Demand with
      Structured Dropout, ICLR 2020 (every other layer).
    """
    small = nnx.clone(model)
    modules = {dotted(path): module for path, module in nnx.iter_modules(small)}
    lists = {path: module for path, module in modules.items() if isinstance(module, nnx.List)}
    kept: dict[str, list[int]] = {}
    # Inner lists first, while their paths are still those of the complete network.
    for path, wanted in sorted(keep.items(), key=lambda item: -item[0].count(".")):
        if path not in lists:
            raise ValueError(f"{path!r} is no list of layers; there are {sorted(lists)}")
        count = len(lists[path])
        stay = (
            evenly_spaced_layers(count, wanted)
            if isinstance(wanted, int)
            else sorted(map(int, wanted))
        )
        if not stay or len(set(stay)) < len(stay) or stay[0] < 0 or stay[-1] >= count:
            raise ValueError(f"{path} has the layers 0 to {count - 1}; {wanted} are to stay")
        for inner in kept:
            number = inner.removeprefix(f"{path}.").partition(".")[0]
            if inner.startswith(f"{path}.") and int(number) not in stay:
                raise ValueError(
                    f"layers of {inner} are to stay, but {path} keeps {stay} alone: leave "
                    f"{inner} out"
                )
        kept[path] = stay
        parent, _, name = path.rpartition(".")
        fewer = nnx.List([lists[path][number] for number in stay])
        holder: Any = modules[parent]
        if isinstance(holder, nnx.List):
            holder[int(name)] = fewer
        else:
            setattr(holder, name, fewer)
    before = _logits_shape(model, inputs)
    try:
        after = _logits_shape(small, inputs)
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} does not run with the layers {kept} alone ({error}): keep "
            "those that change the shape of what passes through"
        ) from error
    if before != after:
        raise ValueError(f"with the layers {kept} alone the logits are {after}, not {before}")
    return small, kept


def _logits_shape(model: nnx.Module, inputs: Any) -> tuple[int, ...]:
    network = from_nnx(model)
    outputs = jax.eval_shape(network.apply, network.params, network.state, inputs)[0]
    shape: tuple[int, ...] = logits_of(outputs, "pruning", network.name, module=True).shape
    return shape
