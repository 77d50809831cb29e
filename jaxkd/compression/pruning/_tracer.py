"""Which axes of a network's arrays shrink together, from its traced forward pass.

Every position along every axis of every variable starts with a channel id of its own. A traced
array carries the ids of the positions along each of its axes, and each operation says which of them
are one and the same channel: those that are added to each other, those that are contracted with
each other. Reshapes, transposes, concatenations and splits only carry the ids along, so that
shuffles of channels and layers behind a flattened map need no case of their own.

After Fang et al., DepGraph: Toward Any Structural Pruning, CVPR 2023, with positions in the place
of layers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core as jex_core

from jaxkd.compression.pruning._channel_ids import Axes, TracedValue, fixed_value
from jaxkd.compression.pruning._rules import CALLS, Operation, rule_of
from jaxkd.compression.pruning._tracer_state import TracerState


class ChannelTracer(TracerState):
    """Follows channels through a traced program and gathers what its operations demand."""

    def run(
        self,
        jaxpr: jex_core.Jaxpr,
        consts: Sequence[TracedValue],
        arguments: Sequence[TracedValue],
        module: str,
    ) -> list[TracedValue]:
        """Follows the channels through a traced function.

        Args:
          jaxpr: the function.
          consts: the traced constants.
          arguments: the traced arguments.
          module: path of the module that called it.

        Returns:
          The traced results.

        Raises:
          AssertionError: a rule returned axes that do not have the shape of the operation's result.
        """
        known: dict[Any, TracedValue] = dict(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> TracedValue:
            literal = isinstance(atom, jex_core.Literal)
            return fixed_value(_shape(atom)) if literal else known[atom]

        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            # Scalars (with no axes) do not make activations of weights.
            from_weights = bool(inputs) and all(x.from_weights for x in inputs if x.axes)
            outputs = self._outputs(equation, inputs, self._module_of(equation, module))
            for variable, axes in zip(equation.outvars, outputs, strict=True):
                shape = _shape(variable)
                if tuple(map(len, axes)) != shape:
                    raise AssertionError(f"{equation.primitive.name}: {shape} from {axes}")
                known[variable] = TracedValue(tuple(axes), from_weights)
        return [read(atom) for atom in jaxpr.outvars]

    def _module_of(self, equation: Any, module: str) -> str:
        """Returns the path of the innermost module around an operation."""
        scopes = str(equation.source_info.name_stack).split("/")
        return next((scope for scope in reversed(scopes) if scope in self.attributes), module)

    def _outputs(self, equation: Any, inputs: list[TracedValue], module: str) -> list[Axes]:
        """Returns the axes of an operation's results."""
        name, params = equation.primitive.name, equation.params
        inner = next(
            (params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None
        )
        if inner is not None and name in CALLS:
            closed = isinstance(inner, jex_core.ClosedJaxpr)
            body = inner.jaxpr if closed else inner
            consts = [fixed_value(np.shape(const)) for const in (inner.consts if closed else ())]
            return [value.axes for value in self.run(body, consts, inputs, module)]
        shapes = [_shape(variable) for variable in equation.outvars]
        reason = f"{name} in {module or 'the network itself'}"
        return rule_of(name)(self, Operation(name, params, inputs, shapes, module, reason))


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape
