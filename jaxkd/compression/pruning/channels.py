"""Channels, neurons and heads of a network that can be removed, with all that belongs to them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxkd.compression.pruning._channel_ids import ANY, FIXED, Axes, BlockCount
from jaxkd.compression.pruning._constraints import ChannelConstraints
from jaxkd.compression.pruning._trace import ChannelTrace, Ids, trace_channels


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelAxis:
    """An axis of a variable along which channels of a group lie.

    Attributes:
      path: path of the variable, with dots.
      axis: number of the axis.
      channels: for each position along the axis, the index of its channel in the group, or −1 for
        positions that belong to another group or must stay. A channel can have many positions:
        behind a flattened map one for each pixel, in attention all those of a head.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import models
      >>> mlp = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
      >>> group = channel_groups(mlp, jnp.ones((1, 4)))[0]
      >>> [(axis.path, axis.axis, len(axis.channels)) for axis in group.axes]
      [('layers.0.kernel', 1, 8), ('layers.0.bias', 0, 8), ('layers.1.kernel', 0, 8)]
    """

    path: str
    axis: int
    channels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that lie along the same axes, any of which can be removed without the others.

    Attributes:
      name: path of the first layer that makes them.
      size: number of channels.
      axes: all axes along which they lie.
      reason: why none of them can be removed; empty if they can.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import models
      >>> mlp = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
      >>> groups = channel_groups(mlp, jnp.ones((1, 4)))
      >>> [(group.name, group.size, group.reason) for group in groups]
      [('layers.0', 8, ''), ('layers.1', 6, ''), ('head', 3, 'the logits')]
    """

    name: str
    size: int
    axes: tuple[ChannelAxis, ...]
    reason: str = ""

    def __str__(self) -> str:
        """Returns the name, the size, and where the channels lie."""
        where = ", ".join(f"{axis.path}[{axis.axis}]" for axis in self.axes)
        return f"{self.name}: {self.size} in {where}" + (
            f"; stay, because of {self.reason}" if self.reason else ""
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelWiring:
    """Which positions of a network's variables are one channel.

    Attributes:
      groups: the groups of channels.
      ids: for each variable and axis the channel id of every position: equal for positions of one
        channel, FIXED for those that must stay.
      counts: attributes that count blocks, with the ids of these.
      trace: the trace that this was found in.
    """

    groups: tuple[ChannelGroup, ...]
    ids: Ids
    counts: tuple[BlockCount, ...]
    trace: ChannelTrace


def channel_groups(model: nnx.Module, inputs: Any) -> tuple[ChannelGroup, ...]:
    """Lists which channels of a network can be removed, and what goes with them.

    The evaluation forward pass is traced, nothing is computed. Channels that are added to each
    other (shortcuts), normalized, convolved depthwise or scaled by squeeze-and-excitation are one
    group; heads of attention are removed as a whole; channels that a normalization averages over
    stay, as do the inputs and all outputs that have no parameters behind them, the logits among
    them.

    Args:
      model: an NNX module, called with the inputs alone.
      inputs: a batch as it takes it, or `jax.ShapeDtypeStruct`s.

    Returns:
      The groups, in the order of the layers that make them, with those that must stay and why.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import models
      >>> mlp = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
      >>> for group in channel_groups(mlp, jnp.ones((1, 4))):
      ...     print(group)
      layers.0: 8 in layers.0.kernel[1], layers.0.bias[0], layers.1.kernel[0]
      layers.1: 6 in layers.1.kernel[1], layers.1.bias[0], head.kernel[0]
      head: 3 in head.kernel[1], head.bias[0]; stay, because of the logits

    References:
      Fang et al., DepGraph: Toward Any Structural Pruning, CVPR 2023.
    """
    return find_wiring(model, inputs).groups


def find_wiring(model: nnx.Module, inputs: Any) -> ChannelWiring:
    """Traces a network and finds its channels; see `channel_groups`."""
    trace = trace_channels(model, inputs)
    count = 1 + sum(len(ids) for axes in trace.ids.values() for ids in axes)
    channel_of = _connected_ids(trace.tracer, count)
    reasons = _reasons_to_stay(trace.tracer, channel_of)
    channels = {path: tuple(channel_of[ids] for ids in axes) for path, axes in trace.ids.items()}
    # From here on ids are those of channels, from 1, so that 0 is FIXED again.
    stays = np.isin(np.arange(channel_of.max() + 1), list(reasons))
    new_id = np.where(stays, FIXED, np.arange(len(stays)) + 1)
    ids = {
        path: tuple(new_id[c] if len(c) > 1 else np.full(1, ANY) for c in axes)
        for path, axes in channels.items()
    }
    counts = tuple(
        dataclasses.replace(c, ids=new_id[channel_of[c.ids]]) for c in trace.tracer.counts
    )
    return ChannelWiring(_groups(channels, reasons), ids, counts, trace)


def _connected_ids(constraints: ChannelConstraints, count: int) -> np.ndarray:
    """Numbers the channels: the connected parts of all positions that are one and the same.

    Args:
      constraints: which positions are the same channel.
      count: number of ids, with 0 (FIXED).

    Returns:
      For each id the number of its channel.
    """
    from scipy.sparse import coo_matrix, csgraph  # Slow to import.

    pairs = [(a, b) for a, b, _ in constraints.equalities]
    left = np.concatenate([a for a, _ in pairs] or [np.zeros(0, int)])
    right = np.concatenate([b for _, b in pairs] or [np.zeros(0, int)])
    # What must stay does not connect: all channels that must would become one otherwise.
    free = (left != FIXED) & (right != FIXED)
    ones = np.ones(int(free.sum()), bool)
    graph = coo_matrix((ones, (left[free], right[free])), shape=(count, count))
    return csgraph.connected_components(graph, directed=False)[1]


def _reasons_to_stay(constraints: ChannelConstraints, channel_of: np.ndarray) -> dict[int, str]:
    """Channel → the first reason why it must stay, of those that must."""
    reasons: dict[int, str] = {}
    for a, b, reason in constraints.equalities:
        held = np.concatenate([a[b == FIXED], b[a == FIXED]])
        for channel in np.unique(channel_of[held]).tolist():
            reasons.setdefault(channel, reason)
    return reasons


def _groups(channels: Mapping[str, Axes], reasons: Mapping[int, str]) -> tuple[ChannelGroup, ...]:
    """Groups channels that lie along the same axes and stay for the same reason.

    Args:
      channels: for each variable and axis the channel of every position.
      reasons: channel → why it must stay.

    Returns:
      The groups, in the order in which `channels` first names one of theirs.
    """
    axes_of: dict[int, list[tuple[str, int]]] = {}
    for path, axes in channels.items():
        for axis, along in enumerate(axes):
            # The only channel of a layer cannot be removed.
            for channel in np.unique(along).tolist() if len(along) > 1 else ():
                axes_of.setdefault(channel, []).append((path, axis))
    members: dict[Any, list[int]] = {}
    for channel, where in axes_of.items():
        # What lies along one axis alone is no channel: height and width of a kernel, a vocabulary.
        if len(where) > 1:
            members.setdefault((tuple(where), reasons.get(channel, "")), []).append(channel)
    groups: list[ChannelGroup] = []
    names: dict[str, int] = {}
    for (where, reason), group in members.items():
        maker, name = _maker(where, channels)
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name += f"#{names[name]}"
        # Channels are numbered in their order along the last axis of the variable that names them.
        along = channels[maker][max(axis for path, axis in where if path == maker)]
        order = [c for c in dict.fromkeys(along.tolist()) if c in set(group)]
        index = np.full(max(axes_of) + 1, -1)
        index[order] = np.arange(len(order))
        if len(order) == 1:
            reason = reason or "all of its channels belong to one group"
        lying = tuple(ChannelAxis(path, axis, index[channels[path][axis]]) for path, axis in where)
        groups.append(ChannelGroup(name, len(order), lying, reason))
    return tuple(groups)


def _maker(where: tuple[tuple[str, int], ...], channels: Mapping[str, Axes]) -> tuple[str, str]:
    """The variable that makes channels, as its last of several axes, and the name of its layer."""
    makers = (path for path, axis in where if axis and axis == len(channels[path]) - 1)
    maker = next(makers, where[0][0])
    return maker, maker.rpartition(".")[0] or maker
