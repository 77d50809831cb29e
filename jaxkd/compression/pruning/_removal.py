"""Channels cut out of a network's arrays, and the check that the rest still fits together."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.compression.pruning._channel_ids import ChannelIds
from jaxkd.compression.pruning._program_constants import changed_constant
from jaxkd.compression.pruning._trace import Ids, trace_channels
from jaxkd.compression.pruning.channels import ChannelWiring
from jaxkd.networks._network import dotted

KeptChannels = dict[str, list[int]]
"""Name of a group → ascending numbers of the channels that stay."""


def remove_channels(
    model: nnx.Module, inputs: Any, wiring: ChannelWiring, kept: KeptChannels
) -> nnx.Module:
    """Removes channels and checks the result by a second trace.

    Args:
      model: the complete network; not changed.
      inputs: a batch as it takes it.
      wiring: which positions of its variables are one channel.
      kept: the channels that stay, of the groups that lose some.

    Returns:
      The smaller network.

    Raises:
      ValueError: the network's code does not follow the shapes of its arrays.
    """
    stays, removed = _positions(wiring, kept)
    small = nnx.clone(model)
    for keys, variable in nnx.to_flat_state(nnx.state(small)):
        path = dotted(keys)
        if path in stays and not all(axis.all() for axis in stays[path]):
            variable.set_value(_cut(variable.get_value(), stays[path]))
    _update_attributes(small, wiring, removed)
    ids = {
        path: tuple(along[mask] for along, mask in zip(axes, stays[path], strict=True))
        for path, axes in wiring.ids.items()
    }
    _check(small, inputs, wiring, ids)
    return small


def _positions(
    wiring: ChannelWiring, kept: KeptChannels
) -> tuple[dict[str, list[np.ndarray]], ChannelIds]:
    """Masks of the positions that stay, by variable and axis, and the ids of what is removed."""
    stays = {path: [np.ones(len(ids), bool) for ids in axes] for path, axes in wiring.ids.items()}
    removed: list[ChannelIds] = [np.zeros(0, int)]
    for group in wiring.groups:
        if group.name not in kept:
            continue
        lost = np.setdiff1d(np.arange(group.size), kept[group.name])
        for lying in group.axes:
            of_lost = np.isin(lying.channels, lost)
            stays[lying.path][lying.axis] &= ~of_lost
            removed.append(wiring.ids[lying.path][lying.axis][of_lost])
    return stays, np.unique(np.concatenate(removed))


def _cut(array: Any, stays: Sequence[np.ndarray]) -> Any:
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct([int(mask.sum()) for mask in stays], array.dtype)
    # On the host, since on a device every new shape would be compiled for.
    return jnp.asarray(np.asarray(array)[np.ix_(*stays)])


def _update_attributes(small: nnx.Module, wiring: ChannelWiring, removed: ChannelIds) -> None:
    """Brings what modules know of their sizes in line with their arrays."""
    modules = {dotted(keys): module for keys, module in nnx.iter_modules(small)}
    remaining: dict[tuple[str, str], set[int]] = {}
    for count in wiring.counts:
        number = int((~np.isin(count.ids, removed)).sum())
        remaining.setdefault((count.module, count.attribute), set()).add(number)
    for (path, attribute), numbers in remaining.items():
        if len(numbers) == 1:  # else the attribute does not count the blocks of any one layer
            setattr(modules[path], attribute, numbers.pop())
    for module in modules.values():
        _update_flax_layer(module)


def _update_flax_layer(module: Any) -> None:
    """Sets what Flax's layers know of their shapes from their arrays."""
    if isinstance(module, nnx.Linear):
        module.in_features, module.out_features = module.kernel.shape
    elif isinstance(module, nnx.LinearGeneral):
        inside = len(module.in_features)
        shape = module.kernel.shape[len(module.batch_axis) :]
        module.in_features, module.out_features = shape[:inside], shape[inside:]
    elif isinstance(module, nnx.Conv):
        *_, inside, out = module.kernel_shape
        shape = module.kernel.shape
        if inside == 1 and module.feature_group_count > 1:  # depthwise
            module.feature_group_count = shape[-1] // (out // module.feature_group_count)
        module.in_features = shape[-2] * module.feature_group_count
        module.out_features, module.kernel_shape = shape[-1], shape
    elif isinstance(module, nnx.Embed):
        module.num_embeddings, module.features = module.embedding.shape
    elif isinstance(module, nnx.MultiHeadAttention):
        heads, width = module.query.kernel.shape[-2:]
        module.in_features, module.qkv_features = module.query.kernel.shape[0], heads * width
    elif hasattr(module, "num_features"):  # normalizations
        arrays = [getattr(module, name, None) for name in ("scale", "bias", "mean")]
        shapes = [array.shape for array in arrays if array is not None]
        if shapes:
            module.num_features = math.prod(shapes[0])


def _check(small: nnx.Module, inputs: Any, wiring: ChannelWiring, ids: Ids) -> None:
    """Refuses a network in which a channel meets other channels than before.

    The smaller network is traced with the ids that its channels have in the complete one. Every
    demand that two channels be one must then hold already.

    Raises:
      ValueError: the smaller network does not run, or its channels, constants or logits differ from
        what the complete one demands.
    """
    advice = (
        "its code does not follow the shapes of its arrays: let it read sizes from them, or keep "
        "these groups complete with protect="
    )
    complete = wiring.trace
    try:
        trace = trace_channels(small, inputs, ids, complete.tracer.decisions)
    except Exception as error:
        raise ValueError(
            f"{type(small).__name__} does not run with fewer channels ({error}); {advice}"
        ) from error
    for a, b, reason in trace.tracer.equalities:
        if (a != b).any():
            raise ValueError(
                f"{reason}: other channels would meet than in the complete network; {advice}"
            )
    if change := changed_constant(complete.constants, trace.constants):
        raise ValueError(
            f"a number in the program would change with the channels, {change}; {advice}"
        )
    if trace.outputs["logits"] != complete.outputs["logits"]:
        raise ValueError(
            f"the logits would be {trace.outputs['logits']}, not {complete.outputs['logits']}; "
            f"{advice}"
        )
