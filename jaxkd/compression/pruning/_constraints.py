"""Which channels of a network are one and the same, and which must stay."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxkd.compression.pruning._channel_ids import ANY, FIXED, Axes, ChannelIds


@dataclasses.dataclass
class ChannelConstraints:
    """What the operations of a program demand of the channels.

    Attributes:
      equalities: pairs of arrays of channel ids that are equal position by position, and the
        reason. A pair with FIXED says that the other channel must stay.
    """

    equalities: list[tuple[ChannelIds, ChannelIds, str]] = dataclasses.field(default_factory=list)

    def unify(self, a: ChannelIds, b: ChannelIds, reason: str) -> ChannelIds:
        """Demands that two axes hold the same channels; returns the ids of their common axis."""
        differ = (a != ANY) & (b != ANY) & (a != b)
        if differ.any():
            self.equalities.append((a[differ], b[differ], reason))
        return np.where(a == ANY, b, a)

    def fix(self, ids: ChannelIds, reason: str) -> None:
        """Demands that all these channels stay."""
        self.unify(ids, np.full_like(ids, FIXED), reason)

    def fix_if(self, changed: bool, ids: ChannelIds, size: int, reason: str) -> ChannelIds:
        """Fixes an axis that an operation changes into one of another size.

        Args:
          changed: whether the operation changes the axis.
          ids: the axis before the operation.
          size: its size after the operation.
          reason: the operation, for messages.

        Returns:
          The axis after the operation.
        """
        if not changed:
            return ids
        self.fix(ids, reason)
        return np.full(size, FIXED)

    def drop_axes(self, axes: Axes, dropped: Sequence[int], reason: str) -> Axes:
        """Fixes the axes over which an operation reduces; returns the others."""
        for axis in dropped:
            self.fix(axes[axis], reason)
        return tuple(ids for axis, ids in enumerate(axes) if axis not in dropped)

    def split_axis(
        self, ids: ChannelIds, sizes: tuple[int, ...], kept: int, reason: str
    ) -> ChannelIds:
        """Splits an axis into several, of which a single one can lose channels.

        A channel of that one axis lies at every index of the others, so that all these positions
        are one channel: behind a flattened map, all pixels of it.

        Args:
          ids: the axis.
          sizes: the sizes that it is split into; their product is its size.
          kept: which of these axes keeps the channels.
          reason: the operation, for messages.

        Returns:
          The channel ids along the axis that keeps them.
        """
        table = np.moveaxis(ids.reshape(sizes), kept, 0).reshape(sizes[kept], -1)
        unified = table[:, 0]
        for column in table.T[1:]:
            unified = self.unify(unified, column, reason)
        return unified

    def merge_axes(self, axes: Sequence[ChannelIds], reason: str) -> ChannelIds:
        """Merges several axes into one, as a reshape does that flattens."""
        if len(axes) == 1:
            return axes[0]
        sizes = tuple(map(len, axes))
        with_channels = [axis for axis, ids in enumerate(axes) if (ids > FIXED).any()]
        if not with_channels:
            fill = FIXED if any((ids == FIXED).any() for ids in axes) else ANY
            return np.full(math.prod(sizes), fill)
        # A merged position belongs to one channel alone: the last axis with channels has them, and
        # those of the other axes must stay.
        *others, last = with_channels
        for axis in others:
            self.fix(axes[axis], reason)
        shape = [1] * len(sizes)
        shape[last] = sizes[last]
        return np.broadcast_to(axes[last].reshape(shape), sizes).ravel()
