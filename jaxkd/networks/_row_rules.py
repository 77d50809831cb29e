"""What each operation of JAX makes of a batch of rows; see `jaxkd.networks._rows`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of a traced value.

    Attributes:
      axis: the axis of the rows, None for a value that does not depend on the inputs.
      constant: of such a value, the axes along which it does not vary.
      mixed: whether it may depend on the inputs in any way.
    """

    axis: int | None = None
    constant: frozenset[int] = frozenset()
    mixed: bool = False

    def fits(self, axis: int, rank: int) -> bool:
        """Returns whether it can meet rows along an axis element by element."""
        return self.axis == axis or (self.axis is None and (not rank or axis in self.constant))


MIXED = Value(mixed=True)
# From what is known of the operands, none of them mixed, and the operation.
Rule = Callable[[list[Value], Any], list[Value]]
RULES: dict[str, Rule] = {}


def uniform(shape: tuple[int, ...], constant: Sequence[int] = ()) -> Value:
    """Returns a value that does not depend on the inputs; axes of one position are constant."""
    ones = (axis for axis, size in enumerate(shape) if size == 1)
    return Value(constant=frozenset(ones) | frozenset(constant))


def rule(names: str) -> Callable[[Rule], Rule]:
    """Registers the rule of the operations with these names."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return register


def _rows(axis: int | None) -> list[Value]:
    return [Value(axis) if axis is not None else MIXED]


def shape_of(atom: Any) -> tuple[int, ...]:
    """Returns the shape of a variable or literal."""
    return tuple(atom.aval.shape)


def _moved(value: Value, shape: tuple[int, ...], axis_of: Callable[[int], int | None]) -> Value:
    """Returns a value whose axes go elsewhere; None: an axis that is reduced or split up."""
    if value.axis is not None:
        axis = axis_of(value.axis)
        return MIXED if axis is None else Value(axis)
    constant = (axis_of(axis) for axis in value.constant)
    return uniform(shape, [axis for axis in constant if axis is not None])


@rule(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp copy copy_p cos "
    "cosh convert_element_type div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow pvary real "
    "reduce_precision rem round rsqrt select_n sharding_constraint shift_left "
    "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan "
    "tanh xor mul_no_nan"
)
def _elementwise(inputs: list[Value], equation: Any) -> list[Value]:
    ranks = [len(shape_of(atom)) for atom in equation.invars]
    axes = {value.axis for value in inputs if value.axis is not None}
    if not axes:
        arrays = [v.constant for v, rank in zip(inputs, ranks, strict=True) if rank]
        shape = shape_of(equation.outvars[0])
        every = frozenset(range(len(shape)))
        return [uniform(shape, sorted(every.intersection(*arrays)))]
    (axis, *others) = sorted(axes)
    fits = (v.fits(axis, rank) for v, rank in zip(inputs, ranks, strict=True))
    return _rows(axis if not others and all(fits) else None)


@rule("optimization_barrier")
def _barrier(inputs: list[Value], equation: Any) -> list[Value]:
    return list(inputs)


@rule("broadcast_in_dim")
def _broadcast(inputs: list[Value], equation: Any) -> list[Value]:
    value, shape = inputs[0], shape_of(equation.outvars[0])
    dimensions = equation.params["broadcast_dimensions"]
    if value.axis is not None:
        return _rows(dimensions[value.axis])
    new = set(range(len(shape))) - set(dimensions)
    return [uniform(shape, [*new, *(dimensions[axis] for axis in value.constant)])]


@rule("reshape")
def _reshape(inputs: list[Value], equation: Any) -> list[Value]:
    before, after = shape_of(equation.invars[0]), shape_of(equation.outvars[0])

    def axis_of(axis: int) -> int | None:
        # An axis stays one where the sizes before it have the same product.
        ahead = _product(before[:axis])
        found = (i for i, size in enumerate(after) if size == before[axis])
        return next((i for i in found if _product(after[:i]) == ahead), None)

    if equation.params.get("dimensions") is not None:
        return [MIXED]
    return [_moved(inputs[0], after, axis_of)]


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


@rule("transpose")
def _transpose(inputs: list[Value], equation: Any) -> list[Value]:
    order = list(equation.params["permutation"])
    return [_moved(inputs[0], shape_of(equation.outvars[0]), order.index)]


@rule("squeeze")
def _squeeze(inputs: list[Value], equation: Any) -> list[Value]:
    return _drop_axes(inputs, equation, equation.params["dimensions"])


@rule("argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum")
def _reduce(inputs: list[Value], equation: Any) -> list[Value]:
    return _drop_axes(inputs, equation, equation.params["axes"])


def _drop_axes(inputs: list[Value], equation: Any, dropped: Sequence[int]) -> list[Value]:
    def axis_of(axis: int) -> int | None:
        return None if axis in dropped else axis - sum(other < axis for other in dropped)

    return [_moved(inputs[0], shape_of(equation.outvars[0]), axis_of)]


@rule("cumsum cumprod cummax cummin cumlogsumexp sort rev split")
def _along(inputs: list[Value], equation: Any) -> list[Value]:
    params = equation.params
    along = params.get("axis", params.get("dimension", params.get("dimensions")))
    along = along if isinstance(along, tuple | list) else (along,)
    (axis, *others) = {value.axis for value in inputs}
    if others or axis in along:
        return [MIXED] * len(equation.outvars)
    if axis is None:
        return [uniform(shape_of(variable)) for variable in equation.outvars]
    return _rows(axis) * len(equation.outvars)


@rule("reduce_window reduce_window_max reduce_window_min reduce_window_sum")
def _window(inputs: list[Value], equation: Any) -> list[Value]:
    params, value = equation.params, inputs[0]
    if any(other.axis is not None for other in inputs[1:]):
        return [MIXED]
    if value.axis is None:
        return [uniform(shape_of(equation.outvars[0]))]
    axis = value.axis
    kept = params["window_dimensions"][axis] == 1 and params["window_strides"][axis] == 1
    return _rows(axis if kept and tuple(params["padding"][axis]) == (0, 0) else None)


@rule("dot_general")
def _dot(inputs: list[Value], equation: Any) -> list[Value]:
    (contracted, batched) = equation.params["dimension_numbers"]
    axes: set[int | None] = set()
    number = len(batched[0])
    for side, value in enumerate(inputs):
        rank = len(shape_of(equation.invars[side]))
        bound = [*contracted[side], *batched[side]]
        free = [axis for axis in range(rank) if axis not in bound]
        others = len(shape_of(equation.invars[0])) - len(contracted[0]) - number if side else 0
        if value.axis is None:
            continue
        if value.axis in contracted[side]:
            return [MIXED]
        if value.axis in batched[side]:
            place = list(batched[side]).index(value.axis)
            other = inputs[1 - side]
            axes.add(place if other.fits(batched[1 - side][place], 1) else None)
        else:
            axes.add(number + others + free.index(value.axis))
    if not axes:
        return [uniform(shape_of(equation.outvars[0]))]
    (axis, *rest) = axes
    return _rows(None if rest else axis)


@rule("conv_general_dilated")
def _convolution(inputs: list[Value], equation: Any) -> list[Value]:
    numbers, (images, kernel) = equation.params["dimension_numbers"], inputs
    if kernel.axis is not None or equation.params["batch_group_count"] != 1:
        return [MIXED]
    if images.axis is None:
        return [uniform(shape_of(equation.outvars[0]))]
    return _rows(numbers.out_spec[0] if images.axis == numbers.lhs_spec[0] else None)


@rule("cpu_convolution")
def _cpu_convolution(inputs: list[Value], equation: Any) -> list[Value]:
    """That of `jaxkd.ops`, of `[batch, height, width, channels]`."""
    return _rows(0 if inputs[0].axis == 0 and inputs[1].axis is None else None)


@rule("slice")
def _slice(inputs: list[Value], equation: Any) -> list[Value]:
    params, shape = equation.params, shape_of(equation.outvars[0])

    def axis_of(axis: int) -> int | None:
        whole = shape[axis] == shape_of(equation.invars[0])[axis]
        strides = params["strides"]
        return axis if whole and (strides is None or strides[axis] == 1) else None

    if inputs[0].axis is None:
        return [uniform(shape, sorted(inputs[0].constant))]
    return [_moved(inputs[0], shape, axis_of)]


@rule("dynamic_slice dynamic_update_slice")
def _dynamic_slice(inputs: list[Value], equation: Any) -> list[Value]:
    update = equation.primitive.name == "dynamic_update_slice"
    arrays = inputs[: 1 + update]
    if any(index.axis is not None for index in inputs[len(arrays) :]):
        return [MIXED]
    axes = {value.axis for value in arrays if value.axis is not None}
    if not axes:
        return [uniform(shape_of(equation.outvars[0]))]
    (axis, *others) = sorted(axes)
    shapes = {
        shape_of(atom)[axis] for atom in (*equation.invars[: 1 + update], equation.outvars[0])
    }
    whole = len(shapes) == 1 and all(value.fits(axis, 1) for value in arrays)
    return _rows(axis if whole and not others else None)


@rule("pad")
def _pad(inputs: list[Value], equation: Any) -> list[Value]:
    value, filler = inputs
    if value.axis is None or filler.axis is not None:
        return [MIXED if filler.axis is not None else uniform(shape_of(equation.outvars[0]))]
    untouched = tuple(equation.params["padding_config"][value.axis]) == (0, 0, 0)
    return _rows(value.axis if untouched else None)


@rule("concatenate")
def _concatenate(inputs: list[Value], equation: Any) -> list[Value]:
    dimension = equation.params["dimension"]
    (result,) = _elementwise(inputs, equation)
    if result.axis is None:
        kept = [axis for axis in result.constant if axis != dimension]
        return [result if result.mixed else uniform(shape_of(equation.outvars[0]), kept)]
    return _rows(None if result.axis == dimension else result.axis)


@rule("gather")
def _gather(inputs: list[Value], equation: Any) -> list[Value]:
    """Embeddings (rows in the indices), and positions chosen alike in every row."""
    operand, indices = inputs
    numbers, shape = equation.params["dimension_numbers"], shape_of(equation.outvars[0])
    batched = tuple(getattr(numbers, "operand_batching_dims", ()))
    positions = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    if operand.axis is None and indices.axis is None:
        alike = [axis for axis in indices.constant if axis < len(positions) and not batched]
        return [uniform(shape, [positions[axis] for axis in alike])]
    if indices.axis is None:
        axis = operand.axis
        assert axis is not None
        whole = equation.params["slice_sizes"][axis] == shape_of(equation.invars[0])[axis]
        gone = {*numbers.collapsed_slice_dims, *batched}
        if not whole or axis in gone:
            return [MIXED]
        kept = [a for a in range(len(shape_of(equation.invars[0]))) if a not in gone]
        return _rows(numbers.offset_dims[kept.index(axis)])
    place = positions[indices.axis] if indices.axis < len(positions) else None
    if operand.axis is None:
        return _rows(None if batched else place)
    pairs = zip(batched, getattr(numbers, "start_indices_batching_dims", ()), strict=True)
    return _rows(place if (operand.axis, indices.axis) in pairs else None)


@rule("iota")
def _iota(inputs: list[Value], equation: Any) -> list[Value]:
    shape = shape_of(equation.outvars[0])
    varies = equation.params["dimension"]
    return [uniform(shape, [axis for axis in range(len(shape)) if axis != varies])]
