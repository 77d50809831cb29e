"""A network traced with a channel id for every position along every axis of its variables."""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.extend import core as jex_core

from jaxkd.compression.pruning._channel_ids import Axes, BlockCount, TracedValue, fixed_value
from jaxkd.compression.pruning._program_constants import program_constants
from jaxkd.compression.pruning._tracer import ChannelTracer
from jaxkd.compression.pruning._tracer_state import Decision
from jaxkd.networks._network import dotted
from jaxkd.networks._outputs import logits_of, named
from jaxkd.networks._pure_module import PureModule
from jaxkd.ops import xla_convolutions

Ids = Mapping[str, Axes]
"""Path of a variable → the channel ids along each of its axes."""


@dataclasses.dataclass(frozen=True)
class ChannelTrace:
    """What a trace of a network has found.

    Attributes:
      ids: the channel ids of every variable.
      tracer: what the operations demand of them.
      outputs: name of each output → shape.
      constants: constants of the program.
    """

    ids: dict[str, Axes]
    tracer: ChannelTracer
    outputs: dict[str, tuple[int, ...]]
    constants: tuple[np.ndarray, ...]


def trace_channels(
    model: nnx.Module,
    inputs: Any,
    ids: Ids | None = None,
    decisions: Sequence[Decision] = (),
) -> ChannelTrace:
    """Traces the evaluation forward pass of a network; nothing is computed.

    Args:
      model: the network.
      inputs: a batch.
      ids: channel ids of the variables; None for a new one at every position.
      decisions: what ambiguous operations mean, if that is known.

    Returns:
      The ids, and what the network demands of them.

    Raises:
      ValueError: a network that returns no logits.
    """
    model = nnx.clone(model)
    modules = _name_scopes(model)
    pure = PureModule(model)

    def forward(params: Any, state: Any, inputs: Any) -> Any:
        return named(pure(params, state, (inputs,), {}, train=False, key=None)[0])

    with xla_convolutions():  # one operation for each convolution, in whatever form it runs
        program, shapes = jax.make_jaxpr(forward, return_shape=True)(
            pure.params, pure.state, inputs
        )
    leaves = [*sorted(pure.params.items()), *sorted(pure.state.items())]
    ids = _with_new_ids(program.jaxpr, leaves, ids or {})
    tracer = ChannelTracer(
        attributes={path: vars(module) for path, module in modules.items()} | {"": vars(model)},
        decisions_to_follow=decisions,
    )
    _fix_attention(model, ids, tracer)
    arguments = [TracedValue(ids[path], from_weights=True) for path, _ in leaves]
    arguments += [fixed_value(leaf.shape) for leaf in jax.tree.leaves(inputs)]
    consts = [fixed_value(np.shape(const)) for const in program.consts]
    results = tracer.run(program.jaxpr, consts, arguments, "")
    values = jax.tree.unflatten(jax.tree.structure(shapes), results)
    for axis in logits_of(values, "pruning", type(model).__name__, module=True).axes:
        tracer.fix(axis, "the logits")
    outputs = {name: shape.shape for name, shape in shapes.items()}
    constants = tuple(program_constants(program.jaxpr, program.consts))
    return ChannelTrace(ids, tracer, outputs, constants)


def _with_new_ids(
    jaxpr: jex_core.Jaxpr, leaves: Sequence[tuple[str, Any]], ids: Ids
) -> dict[str, Axes]:
    """Gives new ids to all positions of the variables that have none.

    They are counted in the order in which the forward pass first uses the variables, so that the
    groups of channels come in the order of the layers.

    Returns:
      The ids along each axis of every variable, by its path.
    """
    last = len(jaxpr.eqns)
    # Backwards, so that the first use of a variable is the one that stays.
    first_use = {
        atom: last - number
        for number, equation in enumerate(jaxpr.eqns[::-1], 1)
        for atom in equation.invars
        if not isinstance(atom, jex_core.Literal)
    }
    arguments = dict(zip((path for path, _ in leaves), jaxpr.invars, strict=False))
    shape_of = {path: leaf.shape for path, leaf in leaves}
    result, start = dict(ids), 1
    for path in sorted(shape_of, key=lambda path: first_use.get(arguments[path], last)):
        if path not in result:
            ends = np.cumsum((start, *shape_of[path]))
            result[path] = tuple(np.arange(*pair) for pair in itertools.pairwise(ends))
            start = int(ends[-1])
    return result


def _name_scopes(model: nnx.Module) -> dict[str, Any]:
    """Makes every operation of a module bear the module's path in a trace.

    Changes the classes of this model's modules, so that it has to be a copy; `nnx.split` and
    `nnx.merge` keep the classes.

    Returns:
      Path → module, of all modules inside of this one.
    """
    modules: dict[str, Any] = {
        dotted(path): module for path, module in nnx.iter_modules(model) if path
    }
    for path, module in modules.items():
        kind: Any = type(module)
        module.__class__, module.path_in_trace = _scoped(kind), path
    return modules


@functools.cache
def _scoped(kind: Any) -> Any:
    """Returns a subclass whose methods run in a scope named by the module's path."""

    def scoped(method: Any) -> Any:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **keywords: Any) -> Any:
            with jax.named_scope(self.path_in_trace):
                return method(self, *args, **keywords)

        return call

    methods = {
        name: scoped(method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if name == "__call__" or not (name.startswith("_") or hasattr(nnx.Module, name))
        if not isinstance(inspect.getattr_static(kind, name), staticmethod)
    }
    return type(kind)(kind.__name__, (kind,), methods | {"__module__": kind.__module__})


def _fix_attention(model: nnx.Module, ids: Ids, tracer: ChannelTracer) -> None:
    """Fixes the width of heads in Flax's attention, and counts the heads.

    It has the heads as an axis of its kernels and their width as an attribute.
    """
    for path, module in nnx.iter_modules(model):
        if isinstance(module, nnx.MultiHeadAttention):
            prefix = "".join(f"{part}." for part in path)
            kernels = {part: f"{prefix}{part}.kernel" for part in ("query", "key", "value")}
            for kernel in kernels.values():
                tracer.fix(ids[kernel][-1], f"the width of heads in {prefix[:-1]}")
            for part, count in (("query", "num_heads"), ("key", "num_kv_heads")):
                if hasattr(module, count):
                    heads = ids[kernels[part]][-2]
                    tracer.counts.append(BlockCount(dotted(path), count, heads))
