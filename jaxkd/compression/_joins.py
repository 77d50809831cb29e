"""Channels that are found to be one and the same, and what becomes of their numbers."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxkd.compression._numbers import ANY, FIXED, Numbers


@dataclasses.dataclass
class Joins:
    """What is known of the numbers along axes of a network's arrays.

    Attributes:
      joins: pairs of numbers that are the same channel, and why. With FIXED in it a pair says that
        the other must stay.
    """

    joins: list[tuple[Numbers, Numbers, str]] = dataclasses.field(default_factory=list)

    def join(self, a: Numbers, b: Numbers, why: str) -> Numbers:
        """The numbers of an axis that two values share."""
        known = (a != ANY) & (b != ANY) & (a != b)
        if known.any():
            self.joins.append((a[known], b[known], why))
        return np.where(a == ANY, b, a)

    def fix(self, numbers: Numbers, why: str) -> None:
        """Positions that must stay."""
        self.join(numbers, np.full_like(numbers, FIXED), why)

    def without(
        self, axes: tuple[Numbers, ...], gone: Sequence[int], why: str
    ) -> tuple[Numbers, ...]:
        """The axes without some, which must stay."""
        for axis in gone:
            self.fix(axes[axis], why)
        return tuple(numbers for axis, numbers in enumerate(axes) if axis not in gone)

    def whole(self, numbers: Numbers, size: int, untouched: bool, why: str) -> Numbers:
        """An axis that is as it was, or of which nothing may be removed."""
        if untouched:
            return numbers
        self.fix(numbers, why)
        return np.full(size, FIXED)

    def divided(self, numbers: Numbers, sizes: tuple[int, ...], axis: int, why: str) -> Numbers:
        """The numbers along one part of an axis, all those of the other parts joined."""
        table = np.moveaxis(numbers.reshape(sizes), axis, 0).reshape(sizes[axis], -1)
        made = table[:, 0]
        for column in table.T[1:]:
            made = self.join(made, column, why)
        return made

    def merged(self, parts: list[Numbers], why: str) -> Numbers:
        """The numbers along axes that become one."""
        if len(parts) == 1:
            return parts[0]
        sizes = tuple(map(len, parts))
        named = [axis for axis, part in enumerate(parts) if (part > FIXED).any()]
        for axis in named[:-1]:  # a position cannot have two numbers
            self.fix(parts[axis], why)
        if not named:
            rest = FIXED if any((part == FIXED).any() for part in parts) else ANY
            return np.full(math.prod(sizes), rest)
        shape = [1] * len(sizes)
        shape[named[-1]] = sizes[named[-1]]
        return np.broadcast_to(parts[named[-1]].reshape(shape), sizes).ravel()
