"""What a reshape means: which axes become which, and along which of them channels can go.

A reshape from `[batch, 12]` to `[batch, 3, 4]` says nothing about what may shrink: three blocks of
four channels can lose blocks (heads of attention) or can lose the same channels in every block
(groups of a normalization). The attributes of the modules around the operation decide it: one that
counts the blocks, `num_heads`, or one that says how large they are, `head_dim`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Attributes = Mapping[str, Mapping[str, Any]]
"""Path of a module → its attributes by name."""

# Attributes of these names count blocks along an axis, and whole blocks are removed; attributes of
# the latter names hold the size of a block instead.
COUNTS = ("num_heads", "heads", "num_kv_heads", "num_groups")
BLOCK_SIZES = ("head_dim", "group_size")


@dataclasses.dataclass(frozen=True)
class Regrouping:
    """Axes before a reshape that become axes after it.

    Attributes:
      source: axes before the reshape.
      target: axes after it that hold the same positions.
      shrinking: index in `target` of the axis that can lose channels.
      count: module and name of the attribute that counts the blocks along that axis, if any.
    """

    source: tuple[int, ...]
    target: tuple[int, ...]
    shrinking: int
    count: tuple[str, str] | None


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """Blocks along an axis, and the module and name of the attribute that counts them, if any."""

    count: tuple[str, str] | None


def regroupings(
    old: tuple[int, ...], new: tuple[int, ...], module: str, attributes: Attributes
) -> list[Regrouping]:
    """Finds what a reshape means.

    Args:
      old: shape before the reshape.
      new: shape after it.
      module: path of the module that reshapes.
      attributes: attributes of all modules.

    Returns:
      One entry for every run of axes that hold the same positions before and after.
    """
    found = []
    for source, target in _matching_axes(old, new):
        target = tuple(range(target[0], target[-1] + 1))  # with the axes of size 1 between
        blocks = None
        if len(target) > 1:
            blocks = _blocks(new[target[-2]], new[target[-1]], _outwards(module), attributes)
        elif target[0] and new[target[0] - 1] == 1:
            # A layer of one head or one group: the axis of blocks has size 1 and went unnoticed.
            blocks = _blocks(1, new[target[0]], [module], attributes)
            target = (target[0] - 1, target[0]) if blocks else target
        shrinking = len(target) - 2 if blocks else len(target) - 1
        found.append(Regrouping(source, target, shrinking, blocks.count if blocks else None))
    return found


def _blocks(
    count: int, width: int, modules: Sequence[str], attributes: Attributes
) -> _Blocks | None:
    """Says whether an axis falls into whole blocks, by the innermost module that knows.

    Args:
      count: number of blocks, if these are blocks.
      width: positions of a block.
      modules: paths of the modules to look at, the innermost first.
      attributes: attributes of all modules.

    Returns:
      The blocks, without a counting attribute where an attribute has their size instead; None if no
      attribute says that these are blocks.
    """
    for path in modules:
        known = attributes.get(path, {})
        name = next((name for name in COUNTS if known.get(name) == count), None)
        if name:
            return _Blocks((path, name))
        if any(known.get(name) == width for name in BLOCK_SIZES):
            return _Blocks(None)
    return None


def _outwards(path: str) -> list[str]:
    """Returns a module's path and those of the modules around it."""
    parts = path.split(".") if path else []
    return [".".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _matching_axes(
    old: tuple[int, ...], new: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs the shortest runs of axes, without those of size 1, that hold the same positions."""
    before = [axis for axis, size in enumerate(old) if size != 1]
    after = [axis for axis, size in enumerate(new) if size != 1]
    pairs = []
    while before:
        left, right = [before.pop(0)], [after.pop(0)]
        old_size, new_size = old[left[0]], new[right[0]]
        # Whichever side has fewer positions takes its next axis, until both have as many.
        while old_size != new_size:
            if old_size < new_size:
                left.append(before.pop(0))
                old_size *= old[left[-1]]
            else:
                right.append(after.pop(0))
                new_size *= new[right[-1]]
        pairs.append((tuple(left), tuple(right)))
    return pairs
