"""Which axes of a network's arrays shrink together, read off its traced forward pass.

Every position along every axis of every variable has a number. A traced value carries, for each of
its axes, the numbers of the positions along it, and each operation says which of them are one and
the same channel: those that are added to each other, those that are contracted with each other.
Reshapes, transposes, concatenations and splits only carry the numbers on, so that shuffles of
channels and layers behind a flattened map need no case of their own.

After Fang et al., DepGraph: Toward Any Structural Pruning, CVPR 2023, with positions in the place
of layers.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend import core as jex_core

from jaxkd.compression._joins import Joins
from jaxkd.compression._numbers import (
    ANY,
    CALLS,
    ELEMENTWISE,
    FIXED,
    REDUCTIONS,
    RULES,
    WINDOWS,
    Count,
    Numbers,
    Value,
    any_of,
    fixed,
    regroupings,
)


@dataclasses.dataclass(kw_only=True)
class Wiring(Joins):
    """What a forward pass was found to demand.

    Attributes:
      joins: as in `Joins`.
      attributes: plain attributes of the modules by path, to read a reshape's meaning from.
      counts: attributes that change where blocks are removed.
      plan: what ambiguous operations were taken to mean, in their order.
      followed: the plan of the whole network, when a smaller one is traced.
    """

    attributes: Mapping[str, Mapping[str, Any]]
    counts: list[Count] = dataclasses.field(default_factory=list)
    plan: list[tuple[Any, Any]] = dataclasses.field(default_factory=list)
    followed: Sequence[tuple[Any, Any]] = ()

    def run(
        self, jaxpr: jex_core.Jaxpr, consts: Sequence[Value], values: Sequence[Value], module: str
    ) -> list[Value]:
        """Follows a traced function.

        Args:
          jaxpr: the function.
          consts: of its constants.
          values: of its arguments.
          module: path of the module that called it.

        Returns:
          What is known of its results.
        """
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, values, strict=True))

        def read(atom: Any) -> Value:
            return fixed(_shape(atom)) if isinstance(atom, jex_core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            outputs = self._one(equation, inputs, self._owner(equation, module))
            weight = all(v.weight for v, a in zip(inputs, equation.invars, strict=True) if v.axes)
            for variable, axes in zip(equation.outvars, outputs, strict=True):
                shape = _shape(variable)
                if tuple(map(len, axes)) != shape:
                    raise AssertionError(f"{equation.primitive.name}: {shape} from {axes}")
                known[variable] = Value(tuple(axes), bool(inputs) and weight)
        return [read(atom) for atom in jaxpr.outvars]

    def _owner(self, equation: Any, module: str) -> str:
        """The innermost module around an operation."""
        scopes = str(equation.source_info.name_stack).split("/")
        return next((scope for scope in reversed(scopes) if scope in self.attributes), module)

    def _one(self, equation: Any, inputs: list[Value], module: str) -> list[tuple[Numbers, ...]]:
        """The axes of an operation's results."""
        name, params = equation.primitive.name, equation.params
        shapes = [_shape(variable) for variable in equation.outvars]
        why = f"{name} in {module or 'the network itself'}"
        inner = next(
            (params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None
        )
        if inner is not None and name in CALLS:
            closed = isinstance(inner, jex_core.ClosedJaxpr)
            body = inner.jaxpr if closed else inner
            consts = [fixed(np.shape(const)) for const in (inner.consts if closed else ())]
            return [value.axes for value in self.run(body, consts, inputs, module)]
        if name in ELEMENTWISE:
            return self._elementwise(inputs, shapes, why)
        if name in REDUCTIONS:
            return [self.without(inputs[0].axes, params["axes"], f"{name} over it, {why}")]
        if name in WINDOWS:
            return [self._window(inputs[0].axes, params, shapes[0], why)]
        rule: Callable[..., list[tuple[Numbers, ...]]] | None = getattr(self, f"_{name}", None)
        if rule is not None and name in RULES:
            return rule(inputs, params, shapes, why, module)
        for value in inputs:
            for axis in value.axes:
                self.fix(axis, why)
        return [fixed(shape).axes for shape in shapes]

    def _elementwise(
        self, inputs: list[Value], shapes: list[tuple[int, ...]], why: str
    ) -> list[tuple[Numbers, ...]]:
        if len(shapes) > 1:  # a barrier around several values
            return [value.axes for value in inputs]
        axes = any_of(shapes[0])
        for value in inputs:
            if value.axes:  # scalars agree with everything, and so does an axis of one position
                axes = tuple(
                    self.join(a, b, why) if len(a) == len(b) else a
                    for a, b in zip(axes, value.axes, strict=True)
                )
        return [axes]

    def _window(
        self, axes: tuple[Numbers, ...], params: Mapping[str, Any], shape: Sequence[int], why: str
    ) -> tuple[Numbers, ...]:
        windows = zip(
            *(params[name] for name in ("window_dimensions", "window_strides", "padding")),
            strict=True,
        )
        return tuple(
            self.whole(numbers, size, (window, stride, *padding) == (1, 1, 0, 0), why)
            for numbers, size, (window, stride, padding) in zip(axes, shape, windows, strict=True)
        )

    def _broadcast_in_dim(self, inputs, params, shapes, why, module):
        axes = list(any_of(shapes[0]))
        for numbers, axis in zip(inputs[0].axes, params["broadcast_dimensions"], strict=True):
            if len(numbers) == shapes[0][axis]:
                axes[axis] = numbers
        return [tuple(axes)]

    def _transpose(self, inputs, params, shapes, why, module):
        return [tuple(inputs[0].axes[axis] for axis in params["permutation"])]

    def _squeeze(self, inputs, params, shapes, why, module):
        gone = params["dimensions"]
        return [tuple(n for axis, n in enumerate(inputs[0].axes) if axis not in gone)]

    def _iota(self, inputs, params, shapes, why, module):
        axes = list(any_of(shapes[0]))
        axes[params["dimension"]] = np.full(shapes[0][params["dimension"]], FIXED)
        return [tuple(axes)]

    def _concatenate(self, inputs, params, shapes, why, module):
        along = params["dimension"]
        axes = list(any_of(shapes[0]))
        for value in inputs:
            for axis, numbers in enumerate(value.axes):
                if axis != along:
                    axes[axis] = self.join(axes[axis], numbers, why)
        axes[along] = np.concatenate([value.axes[along] for value in inputs])
        return [tuple(axes)]

    def _split(self, inputs, params, shapes, why, module):
        along, sizes = params["axis"], params["sizes"]
        numbers = inputs[0].axes[along]
        if len(set(sizes)) == 1:
            # Into so many equal parts: the number of parts stays.
            part = self.divided(numbers, (len(sizes), sizes[0]), 1, why)
            parts = [part] * len(sizes)
        else:
            self.fix(numbers, why)
            parts = [np.full(size, FIXED) for size in sizes]
        return [(*inputs[0].axes[:along], p, *inputs[0].axes[along + 1 :]) for p in parts]

    def _slice(self, inputs, params, shapes, why, module):
        axes = []
        strides = params["strides"] or (1,) * len(shapes[0])
        for numbers, size, start, stop, stride in zip(
            inputs[0].axes,
            shapes[0],
            params["start_indices"],
            params["limit_indices"],
            strides,
            strict=True,
        ):
            if size != len(numbers):
                self.fix(numbers, why)
            axes.append(numbers[start:stop:stride])
        return [tuple(axes)]

    def _dynamic_slice(self, inputs, params, shapes, why, module):
        pairs = zip(inputs[0].axes, shapes[0], strict=True)
        return [tuple(self.whole(n, size, size == len(n), why) for n, size in pairs)]

    def _gather(self, inputs, params, shapes, why, module):
        dims, sizes = params["dimension_numbers"], params["slice_sizes"]
        operand = inputs[0].axes
        left_out = {*dims.collapsed_slice_dims, *dims.operand_batching_dims}
        whole = []
        for axis, numbers in enumerate(operand):
            untouched = sizes[axis] == len(numbers) and axis not in left_out
            numbers = self.whole(numbers, sizes[axis], untouched, why)
            whole += [] if axis in left_out else [numbers]
        axes = list(fixed(shapes[0]).axes)
        for axis, numbers in zip(dims.offset_dims, whole, strict=True):
            axes[axis] = numbers
        for numbers in inputs[1].axes:
            self.fix(numbers, why)
        return [tuple(axes)]

    def _pad(self, inputs, params, shapes, why, module):
        triples = zip(inputs[0].axes, shapes[0], params["padding_config"], strict=True)
        return [tuple(self.whole(n, size, how == (0, 0, 0), why) for n, size, how in triples)]

    def _dot_general(self, inputs, params, shapes, why, module):
        (left, right), (left_batch, right_batch) = params["dimension_numbers"]
        a, b = inputs[0].axes, inputs[1].axes
        # The length of a sum over two activations often sets a scale, as in attention.
        between = not (inputs[0].weight or inputs[1].weight)
        for one, other in zip(left, right, strict=True):
            shared = self.join(a[one], b[other], why)
            if between:
                self.fix(shared, f"a product of activations, {why}")
        batch = [
            self.join(a[one], b[other], why)
            for one, other in zip(left_batch, right_batch, strict=True)
        ]
        free = [n for axis, n in enumerate(a) if axis not in (*left, *left_batch)]
        free += [n for axis, n in enumerate(b) if axis not in (*right, *right_batch)]
        return [(*batch, *free)]

    def _conv_general_dilated(self, inputs, params, shapes, why, module):
        numbers = params["dimension_numbers"]
        images, kernel = inputs[0].axes, inputs[1].axes
        for spec, axes in ((numbers.lhs_spec, images), (numbers.rhs_spec, kernel)):
            for axis in spec[2:]:
                self.fix(axes[axis], why)
        channels, batch = images[numbers.lhs_spec[1]], images[numbers.lhs_spec[0]]
        out, inside = (kernel[axis] for axis in numbers.rhs_spec[:2])
        groups = params["feature_group_count"]
        depthwise, grouped = self._decide("convolution", lambda: (len(inside) == 1, groups > 1))
        if params["batch_group_count"] != 1:
            for axis in (channels, out, inside):
                self.fix(axis, why)
        elif grouped and depthwise:
            # Depthwise: a channel goes with all that is made of it.
            made = self.divided(out, (groups, len(out) // groups), 0, why)
            self.join(channels, made, why)
        elif grouped:
            # Groups stay, each with one channel less.
            self.join(self.divided(channels, (groups, len(inside)), 1, why), inside, why)
            self.divided(out, (groups, len(out) // groups), 1, why)
        else:
            self.join(channels, inside, why)
        axes = list(fixed(shapes[0]).axes)
        axes[numbers.out_spec[0]], axes[numbers.out_spec[1]] = batch, out
        return [tuple(axes)]

    def _reshape(self, inputs, params, shapes, why, module):
        old, new = tuple(map(len, inputs[0].axes)), shapes[0]
        plan = self._decide(
            (len(old), len(new)), lambda: regroupings(old, new, module, self.attributes)
        )
        axes = list(any_of(new))
        for source, target, chosen, count in plan:
            merged = self.merged([inputs[0].axes[axis] for axis in source], why)
            sizes = tuple(new[axis] for axis in target)
            if len(sizes) == 1:
                axes[target[0]] = merged
                continue
            named = (merged > FIXED).any()
            if named:
                axes[target[chosen]] = self.divided(merged, sizes, chosen, why)
                if count:
                    self.counts.append(Count(count[0], count[1], axes[target[chosen]]))
            for place, axis in enumerate(target):
                if new[axis] > 1 and not (named and place == chosen):
                    rest = FIXED if (merged != ANY).any() else ANY
                    axes[axis] = np.full(new[axis], rest)
        return [tuple(axes)]

    def _decide(self, kind: Any, decide: Callable[[], Any]) -> Any:
        """What an operation means, as in the plan that is followed if there is one."""
        if len(self.plan) < len(self.followed) and self.followed[len(self.plan)][0] == kind:
            decision = self.followed[len(self.plan)][1]
        else:
            decision = decide()
        self.plan.append((kind, decision))
        return decision


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape
