"""The numbers that follow the channels of a network through its operations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Numbers = np.ndarray
# In the place of a number: what agrees with every other (a broadcast axis), and what must stay as
# it is (a batch, height and width, the classes).
ANY, FIXED = -1, 0

# A module's attribute of such a name counts blocks along an axis, and whole blocks go.
COUNTS = ("num_heads", "heads", "num_kv_heads", "num_groups")
BLOCK_SIZES = ("head_dim", "group_size")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Calls of other traced functions.
CALLS = _names(
    "checkpoint closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit "
    "pjit remat remat2"
)
# Operations that act on every position alone, that take one number of many along an axis, that do
# so along an axis by parts, and those with a rule of their own.
ELEMENTWISE = _names(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp copy copy_p cos "
    "cosh convert_element_type div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow pvary real "
    "reduce_precision rem round rsqrt select_n sharding_constraint sign sin sinh sqrt square "
    "stop_gradient sub tan tanh xor optimization_barrier"
)
REDUCTIONS = _names(
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum"
)
WINDOWS = _names("reduce_window reduce_window_max reduce_window_min reduce_window_sum")
RULES = _names(
    "broadcast_in_dim concatenate conv_general_dilated dot_general dynamic_slice gather iota pad "
    "reshape slice split squeeze transpose"
)

Regrouping = tuple[tuple[int, ...], tuple[int, ...], int, tuple[str, str] | None]


@dataclasses.dataclass
class Value:
    """What is known of a traced array.

    Attributes:
      axes: for each axis, the numbers of the positions along it.
      weight: whether it was made of variables alone.
    """

    axes: tuple[Numbers, ...]
    weight: bool = False


@dataclasses.dataclass(frozen=True)
class Count:
    """An attribute that says into how many blocks an axis falls.

    Attributes:
      module: its path.
      attribute: its name.
      numbers: of the blocks.
    """

    module: str
    attribute: str
    numbers: Numbers


def fixed(shape: Sequence[int]) -> Value:
    """An array of which nothing may be removed."""
    return Value(tuple(np.full(size, FIXED) for size in shape))


def any_of(shape: Sequence[int]) -> tuple[Numbers, ...]:
    """Axes that agree with all others."""
    return tuple(np.full(size, ANY) for size in shape)


def regroupings(
    old: tuple[int, ...],
    new: tuple[int, ...],
    module: str,
    attributes: Mapping[str, Mapping[str, Any]],
) -> list[Regrouping]:
    """What a reshape means: axes before and after, which of the latter shrinks, and its count.

    A count is the module and the name of its attribute.
    """
    plan: list[Regrouping] = []
    for source, target in _matched(old, new):
        target = tuple(range(target[0], target[-1] + 1))
        meaning = None
        if len(target) > 1:
            where = _outwards(module)
            meaning = _blocks(new[target[-2]], new[target[-1]], where, attributes)
        elif target[0] and new[target[0] - 1] == 1:  # a layer of one head, or one group
            meaning = _blocks(1, new[target[0]], [module], attributes)
            target = (target[0] - 1, target[0]) if meaning else target
        if meaning:
            plan.append((source, target, len(target) - 2, meaning[0]))
        else:
            plan.append((source, target, len(target) - 1, None))
    return plan


def _blocks(
    count: int,
    width: int,
    modules: Sequence[str],
    attributes: Mapping[str, Mapping[str, Any]],
) -> tuple[tuple[str, str] | None] | None:
    """Whether an axis falls into whole blocks, by an attribute of the innermost module that says.

    Returns:
      The module and the name of the attribute that counts the blocks, None if an attribute has
      their size instead, as the only member of a tuple; None if no attribute says so.
    """
    for path in modules:
        own = attributes.get(path, {})
        name = next((name for name in COUNTS if own.get(name) == count), None)
        if name:
            return ((path, name),)
        if any(own.get(name) == width for name in BLOCK_SIZES):
            return (None,)
    return None


def _outwards(path: str) -> list[str]:
    """A module's path and those of the modules around it."""
    parts = path.split(".") if path else []
    return [".".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _matched(
    old: tuple[int, ...], new: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Axes before a reshape with the axes after it that hold the same positions, without ones."""
    before = [axis for axis, size in enumerate(old) if size != 1]
    after = [axis for axis, size in enumerate(new) if size != 1]
    pairs = []
    while before:
        left, right = [before.pop(0)], [after.pop(0)]
        a, b = old[left[0]], new[right[0]]
        while a != b:
            if a < b:
                left.append(before.pop(0))
                a *= old[left[-1]]
            else:
                right.append(after.pop(0))
                b *= new[right[-1]]
        pairs.append((tuple(left), tuple(right)))
    return pairs
