"""What each operation of JAX does with the channels of its operands.

A rule takes the state of the tracer and an operation, adds what the operation demands to the
tracer's constraints, and returns the axes of every result. An operation without a rule fixes all
channels that it touches, which is always right and at worst leaves a network larger than need be.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxkd.compression.pruning._channel_ids import (
    ANY,
    FIXED,
    Axes,
    BlockCount,
    TracedValue,
    any_axes,
    fixed_axes,
)
from jaxkd.compression.pruning._reshapes import regroupings
from jaxkd.compression.pruning._tracer_state import TracerState


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of a traced program.

    Attributes:
      name: name of the primitive.
      params: parameters of the primitive.
      inputs: the traced operands.
      shapes: shapes of the results.
      module: path of the module around the operation.
      reason: name and module of the operation, for messages.
    """

    name: str
    params: Mapping[str, Any]
    inputs: list[TracedValue]
    shapes: list[tuple[int, ...]]
    module: str
    reason: str


Rule = Callable[[TracerState, Operation], list[Axes]]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Calls of other traced functions, which the tracer follows itself.
CALLS = _names(
    "checkpoint closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit "
    "pjit remat remat2"
)
# Operations that act on every position by itself.
_ELEMENTWISE = _names(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp copy copy_p cos "
    "cosh convert_element_type div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow pvary real "
    "reduce_precision rem round rsqrt select_n sharding_constraint sign sin sinh sqrt square "
    "stop_gradient sub tan tanh xor optimization_barrier"
)
# Operations that make one number of all those along an axis.
_REDUCTIONS = _names(
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum"
)
# Operations that make one number of each window along an axis.
_WINDOWS = _names("reduce_window reduce_window_max reduce_window_min reduce_window_sum")

_RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def rule_of(name: str) -> Rule:
    """Returns the rule of an operation; of an unknown one, the rule that fixes everything."""
    return _RULES.get(name, _fix_all)


def _fix_all(tracer: TracerState, op: Operation) -> list[Axes]:
    for value in op.inputs:
        for ids in value.axes:
            tracer.fix(ids, op.reason)
    return [fixed_axes(shape) for shape in op.shapes]


@_rule(*_ELEMENTWISE)
def _elementwise(tracer: TracerState, op: Operation) -> list[Axes]:
    if len(op.shapes) > 1:  # a barrier around several values
        return [value.axes for value in op.inputs]
    axes = any_axes(op.shapes[0])
    for value in op.inputs:
        if value.axes:  # scalars agree with everything, and so does an axis of one position
            axes = tuple(
                tracer.unify(a, b, op.reason) if len(a) == len(b) else a
                for a, b in zip(axes, value.axes, strict=True)
            )
    return [axes]


@_rule(*_REDUCTIONS)
def _reduce(tracer: TracerState, op: Operation) -> list[Axes]:
    reason = f"{op.name} over it, {op.reason}"
    return [tracer.drop_axes(op.inputs[0].axes, op.params["axes"], reason)]


@_rule(*_WINDOWS)
def _reduce_window(tracer: TracerState, op: Operation) -> list[Axes]:
    names = ("window_dimensions", "window_strides", "padding")
    windows = zip(*(op.params[name] for name in names), strict=True)
    return [
        tuple(
            tracer.fix_if((window, stride, *padding) != (1, 1, 0, 0), ids, size, op.reason)
            for ids, size, (window, stride, padding) in zip(
                op.inputs[0].axes, op.shapes[0], windows, strict=True
            )
        )
    ]


@_rule("broadcast_in_dim")
def _broadcast_in_dim(tracer: TracerState, op: Operation) -> list[Axes]:
    axes = list(any_axes(op.shapes[0]))
    for ids, axis in zip(op.inputs[0].axes, op.params["broadcast_dimensions"], strict=True):
        if len(ids) == op.shapes[0][axis]:
            axes[axis] = ids
    return [tuple(axes)]


@_rule("transpose")
def _transpose(tracer: TracerState, op: Operation) -> list[Axes]:
    return [tuple(op.inputs[0].axes[axis] for axis in op.params["permutation"])]


@_rule("squeeze")
def _squeeze(tracer: TracerState, op: Operation) -> list[Axes]:
    squeezed = op.params["dimensions"]
    return [tuple(ids for axis, ids in enumerate(op.inputs[0].axes) if axis not in squeezed)]


@_rule("iota")
def _iota(tracer: TracerState, op: Operation) -> list[Axes]:
    axes, along = list(any_axes(op.shapes[0])), op.params["dimension"]
    axes[along] = np.full(op.shapes[0][along], FIXED)
    return [tuple(axes)]


@_rule("concatenate")
def _concatenate(tracer: TracerState, op: Operation) -> list[Axes]:
    along = op.params["dimension"]
    axes = list(any_axes(op.shapes[0]))
    for value in op.inputs:
        for axis, ids in enumerate(value.axes):
            if axis != along:
                axes[axis] = tracer.unify(axes[axis], ids, op.reason)
    axes[along] = np.concatenate([value.axes[along] for value in op.inputs])
    return [tuple(axes)]


@_rule("split")
def _split(tracer: TracerState, op: Operation) -> list[Axes]:
    along, sizes = op.params["axis"], op.params["sizes"]
    axes = op.inputs[0].axes
    if len(set(sizes)) == 1:
        # "Split into n equal parts" stays true if every part loses the same channels.
        part = tracer.split_axis(axes[along], (len(sizes), sizes[0]), 1, op.reason)
        parts = [part] * len(sizes)
    else:
        tracer.fix(axes[along], op.reason)
        parts = [np.full(size, FIXED) for size in sizes]
    return [(*axes[:along], part, *axes[along + 1 :]) for part in parts]


@_rule("slice")
def _slice(tracer: TracerState, op: Operation) -> list[Axes]:
    axes = []
    names = ("start_indices", "limit_indices")
    starts, stops = (op.params[name] for name in names)
    strides = op.params["strides"] or (1,) * len(starts)
    for ids, size, start, stop, stride in zip(
        op.inputs[0].axes, op.shapes[0], starts, stops, strides, strict=True
    ):
        # The indices are written into the code and would cut elsewhere in a shorter axis.
        if size != len(ids):
            tracer.fix(ids, op.reason)
        axes.append(ids[start:stop:stride])
    return [tuple(axes)]


@_rule("dynamic_slice")
def _dynamic_slice(tracer: TracerState, op: Operation) -> list[Axes]:
    pairs = zip(op.inputs[0].axes, op.shapes[0], strict=True)
    return [tuple(tracer.fix_if(size != len(ids), ids, size, op.reason) for ids, size in pairs)]


@_rule("gather")
def _gather(tracer: TracerState, op: Operation) -> list[Axes]:
    dims, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    collapsed = {*dims.collapsed_slice_dims, *dims.operand_batching_dims}
    kept = []
    for axis, ids in enumerate(op.inputs[0].axes):
        indexed = sizes[axis] != len(ids) or axis in collapsed
        ids = tracer.fix_if(indexed, ids, sizes[axis], op.reason)
        if axis not in collapsed:
            kept.append(ids)
    axes = list(fixed_axes(op.shapes[0]))
    for axis, ids in zip(dims.offset_dims, kept, strict=True):
        axes[axis] = ids
    for ids in op.inputs[1].axes:  # the indices
        tracer.fix(ids, op.reason)
    return [tuple(axes)]


@_rule("pad")
def _pad(tracer: TracerState, op: Operation) -> list[Axes]:
    triples = zip(op.inputs[0].axes, op.shapes[0], op.params["padding_config"], strict=True)
    return [
        tuple(
            tracer.fix_if(padding != (0, 0, 0), ids, size, op.reason)
            for ids, size, padding in triples
        )
    ]


@_rule("dot_general")
def _dot_general(tracer: TracerState, op: Operation) -> list[Axes]:
    (left, right), (left_batch, right_batch) = op.params["dimension_numbers"]
    a, b = op.inputs[0].axes, op.inputs[1].axes
    between_activations = not (op.inputs[0].from_weights or op.inputs[1].from_weights)
    for one, other in zip(left, right, strict=True):
        contracted = tracer.unify(a[one], b[other], op.reason)
        if between_activations:
            # The length of a sum over two activations often sets a scale: in attention the products
            # of queries and keys are divided by the root of their width.
            tracer.fix(contracted, f"a product of activations, {op.reason}")
    batch = [
        tracer.unify(a[one], b[other], op.reason)
        for one, other in zip(left_batch, right_batch, strict=True)
    ]
    free = [ids for axis, ids in enumerate(a) if axis not in (*left, *left_batch)]
    free += [ids for axis, ids in enumerate(b) if axis not in (*right, *right_batch)]
    return [(*batch, *free)]


@_rule("conv_general_dilated")
def _conv_general_dilated(tracer: TracerState, op: Operation) -> list[Axes]:
    spec = op.params["dimension_numbers"]
    images, kernel = op.inputs[0].axes, op.inputs[1].axes
    for spatial, axes in ((spec.lhs_spec[2:], images), (spec.rhs_spec[2:], kernel)):
        for axis in spatial:
            tracer.fix(axes[axis], op.reason)
    channels, batch = images[spec.lhs_spec[1]], images[spec.lhs_spec[0]]
    out, inside = (kernel[axis] for axis in spec.rhs_spec[:2])
    groups = op.params["feature_group_count"]
    depthwise, grouped = tracer.decide("convolution", lambda: (len(inside) == 1, groups > 1))
    if op.params["batch_group_count"] != 1:
        for ids in (channels, out, inside):
            tracer.fix(ids, op.reason)
    elif grouped and depthwise:
        # A channel goes together with all output channels that are made of it.
        made = tracer.split_axis(out, (groups, len(out) // groups), 0, op.reason)
        tracer.unify(channels, made, op.reason)
    elif grouped:
        # The number of groups stays, and each group loses the same channels.
        of_a_group = tracer.split_axis(channels, (groups, len(inside)), 1, op.reason)
        tracer.unify(of_a_group, inside, op.reason)
        tracer.split_axis(out, (groups, len(out) // groups), 1, op.reason)
    else:
        tracer.unify(channels, inside, op.reason)
    result = list(fixed_axes(op.shapes[0]))
    result[spec.out_spec[0]], result[spec.out_spec[1]] = batch, out
    return [tuple(result)]


@_rule("reshape")
def _reshape(tracer: TracerState, op: Operation) -> list[Axes]:
    old, new = tuple(map(len, op.inputs[0].axes)), op.shapes[0]
    meaning = tracer.decide(
        (len(old), len(new)), lambda: regroupings(old, new, op.module, tracer.attributes)
    )
    axes = list(any_axes(new))
    for part in meaning:
        merged = tracer.merge_axes([op.inputs[0].axes[axis] for axis in part.source], op.reason)
        if len(part.target) == 1:
            axes[part.target[0]] = merged
            continue
        has_channels = (merged > FIXED).any()
        shrinking = part.target[part.shrinking]
        if has_channels:
            sizes = tuple(new[axis] for axis in part.target)
            axes[shrinking] = tracer.split_axis(merged, sizes, part.shrinking, op.reason)
            if part.count:
                module, attribute = part.count
                tracer.counts.append(BlockCount(module, attribute, axes[shrinking]))
        fill = FIXED if (merged != ANY).any() else ANY
        for axis in part.target:
            if new[axis] > 1 and not (has_channels and axis == shrinking):
                axes[axis] = np.full(new[axis], fill)
    return [tuple(axes)]
