"""Channel ids: to which channel each position along an axis of an array belongs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

ChannelIds = np.ndarray
"""Integers `[positions along an axis]`: positive for a channel, or ANY, or FIXED."""

Axes = tuple[ChannelIds, ...]
"""The channel ids along every axis of an array."""

# ANY stands on a broadcast axis, which agrees with every channel; FIXED on what must stay as it is:
# a batch, height and width, the classes.
ANY, FIXED = -1, 0


@dataclasses.dataclass
class TracedValue:
    """What is known of an array of a traced program.

    Attributes:
      axes: the channel ids along each axis.
      from_weights: whether the array was computed from variables of the network alone.
    """

    axes: Axes
    from_weights: bool = False


@dataclasses.dataclass(frozen=True)
class BlockCount:
    """An attribute of a module that counts the blocks of an axis, such as the heads of attention.

    Attributes:
      module: path of the module.
      attribute: name of the attribute.
      ids: channel ids of the blocks.
    """

    module: str
    attribute: str
    ids: ChannelIds


def any_axes(shape: Sequence[int]) -> Axes:
    """Returns axes of this shape that agree with all others."""
    return tuple(np.full(size, ANY) for size in shape)


def fixed_axes(shape: Sequence[int]) -> Axes:
    """Returns axes of this shape of which no position may be removed."""
    return tuple(np.full(size, FIXED) for size in shape)


def fixed_value(shape: Sequence[int]) -> TracedValue:
    """Returns an array of this shape of which nothing may be removed."""
    return TracedValue(fixed_axes(shape))
