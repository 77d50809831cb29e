"""Channels, neurons and heads of a network that can be removed, with all that belongs to them."""

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
from scipy.sparse import coo_matrix, csgraph

from jaxkd.compression._constants import constants_in
from jaxkd.compression._numbers import ANY, FIXED, Count, Numbers, Value, fixed
from jaxkd.compression._wiring import Wiring
from jaxkd.networks._network import dotted, named
from jaxkd.networks._nnx import PureModule
from jaxkd.ops import xla_convolutions


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """An axis of a variable along which channels of a group lie.

    Attributes:
      path: of the variable, with dots.
      axis: of its array.
      channel: for each position along the axis, the number of the channel in the group, or -1 for
        positions that belong to another group or stay. A channel can have many positions: behind a
        flattened map one for each place of it, in attention all those of a head.
    """

    path: str
    axis: int
    channel: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Channels that lie along the same axes, any of which can go without the others.

    Attributes:
      name: path of the first layer that makes them.
      size: how many there are.
      places: all axes along which they lie.
      reason: why none of them can be removed; empty if they can.
    """

    name: str
    size: int
    places: tuple[Place, ...]
    reason: str = ""

    def __str__(self) -> str:
        """The name, the size, and where the channels lie."""
        where = ", ".join(f"{place.path}[{place.axis}]" for place in self.places)
        return f"{self.name}: {self.size} in {where}" + (
            f"; stay, because of {self.reason}" if self.reason else ""
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """A network's wiring.

    Attributes:
      groups: the groups of channels.
      owners: path of each variable → for each of its axes, the channel of every position: numbers
        that are equal for positions of one channel and FIXED for those that stay.
      counts: attributes that count blocks.
      plan: what ambiguous operations were taken to mean.
      constants: the numbers written into the program.
      outputs: name of each output → shape.
    """

    groups: tuple[Group, ...]
    owners: dict[str, tuple[Numbers, ...]]
    counts: tuple[Count, ...]
    plan: tuple[Any, ...]
    constants: tuple[np.ndarray, ...]
    outputs: dict[str, tuple[int, ...]]


def channel_groups(model: nnx.Module, inputs: Any) -> tuple[Group, ...]:
    """Tells which channels of a network can be removed, and what goes with them.

    The evaluation forward pass is traced, nothing is computed. Channels that are added to each
    other (shortcuts), normalized, convolved depthwise or scaled by squeeze-and-excitation are one
    group; heads of attention are removed whole; channels that a normalization averages over stay,
    as do the inputs and all outputs that have no parameters behind them, the logits among them.

    Args:
      model: an NNX module, called with the inputs alone.
      inputs: a batch as it takes it, or `jax.ShapeDtypeStruct`s.

    Returns:
      The groups, in the order of the layers that make them, with those that must stay and why.

    Raises:
      ValueError: inputs that the network refuses.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import models
      >>> mlp = models.MLP(4, (8, 6), 3, rngs=nnx.Rngs(0))
      >>> for group in channel_groups(mlp, jnp.ones((1, 4))):
      ...     print(group)
      layers.0: 8 in layers.0.kernel[1], layers.0.bias[0], layers.1.kernel[0]
      layers.1: 6 in layers.1.kernel[1], layers.1.bias[0], head.kernel[0]
      head: 3 in head.kernel[1], head.bias[0]; stay, because of the logits

    References:
      Fang et al., DepGraph: Toward Any Structural Pruning, CVPR 2023.
    """
    return trace(model, inputs).groups


def trace(model: nnx.Module, inputs: Any) -> Traced:
    """The wiring of a network; see `channel_groups`."""
    variables, wiring, outputs, constants = follow(model, inputs, None)
    count = 1 + sum(len(axis) for axes in variables.values() for axis in axes)
    # Channels are the connected parts of what is joined, whatever must stay among them.
    edges = [(a, b) for a, b, _ in wiring.joins]
    left = np.concatenate([a for a, _ in edges] or [np.zeros(0, int)])
    right = np.concatenate([b for _, b in edges] or [np.zeros(0, int)])
    free = (left != FIXED) & (right != FIXED)
    ones = np.ones(int(free.sum()), bool)
    graph = coo_matrix((ones, (left[free], right[free])), shape=(count, count))
    _, part = csgraph.connected_components(graph, directed=False)
    reasons: dict[int, str] = {}
    for a, b, why in wiring.joins:
        held = np.concatenate([a[b == FIXED], b[a == FIXED]])
        for channel in np.unique(part[held]).tolist():
            reasons.setdefault(channel, why)
    parts = {path: tuple(part[axis] for axis in axes) for path, axes in variables.items()}
    groups = _groups(parts, reasons)
    stays = np.isin(np.arange(part.max() + 1), list(reasons))
    owners = {
        path: tuple(
            np.where(stays[p], FIXED, p + 1) if len(p) > 1 else np.full(1, ANY) for p in axes
        )
        for path, axes in parts.items()
    }
    counts = tuple(
        dataclasses.replace(c, numbers=np.where(stays[part[c.numbers]], FIXED, part[c.numbers] + 1))
        for c in wiring.counts
    )
    return Traced(groups, owners, counts, tuple(wiring.plan), constants, outputs)


def follow(
    model: nnx.Module,
    inputs: Any,
    owners: Mapping[str, tuple[Numbers, ...]] | None,
    plan: Sequence[Any] = (),
) -> tuple[
    dict[str, tuple[Numbers, ...]], Wiring, dict[str, tuple[int, ...]], tuple[np.ndarray, ...]
]:
    """Traces a network with a number for every position along every axis of its variables.

    Args:
      model: the network.
      inputs: a batch.
      owners: the numbers, by path of the variable and axis; None for new ones.
      plan: what ambiguous operations mean.

    Returns:
      The numbers, the wiring found, the outputs' shapes, and the constants of the program.
    """
    model = nnx.clone(model)
    modules: dict[str, Any] = {
        dotted(path): module for path, module in nnx.iter_modules(model) if path
    }
    wiring = Wiring(
        attributes={path: vars(module) for path, module in modules.items()} | {"": vars(model)},
        followed=plan,
    )
    for path, module in modules.items():
        # Of this copy alone; `nnx.split` and `merge` keep both.
        kind: Any = type(module)
        module.__class__, module.path_in_trace = _scoped(kind), path
    pure = PureModule(model)

    def forward(params: Any, state: Any, inputs: Any) -> Any:
        return named(pure(params, state, (inputs,), {}, train=False, key=None)[0])

    with xla_convolutions():  # one operation each, whatever form they run in
        traced = jax.make_jaxpr(forward, return_shape=True)
        closed, shapes = traced(pure.params, pure.state, inputs)
    # In the order in which the forward pass comes by them.
    used = {
        atom: -at
        for at, eqn in enumerate(closed.eqns[::-1])
        for atom in eqn.invars
        if not isinstance(atom, jex_core.Literal)
    }
    leaves = [*sorted(pure.params.items()), *sorted(pure.state.items())]
    arguments = dict(zip((path for path, _ in leaves), closed.jaxpr.invars, strict=False))
    shape_of = {path: leaf.shape for path, leaf in leaves}
    variables, start = dict(owners or {}), 1
    for path in sorted(shape_of, key=lambda path: used.get(arguments[path], 1)):
        if path not in variables:
            ends = np.cumsum((start, *shape_of[path]))
            variables[path] = tuple(np.arange(*pair) for pair in itertools.pairwise(ends))
            start = int(ends[-1])
    values = [Value(variables[path], weight=True) for path, _ in leaves]
    values += [fixed(leaf.shape) for leaf in jax.tree.leaves(inputs)]
    _fix_attention(model, variables, wiring)
    consts = [fixed(np.shape(const)) for const in closed.consts]
    results = jax.tree.unflatten(
        jax.tree.structure(shapes), wiring.run(closed.jaxpr, consts, values, "")
    )
    for numbers in results["logits"].axes:
        wiring.fix(numbers, "the logits")
    outputs = {name: shape.shape for name, shape in shapes.items()}
    return variables, wiring, outputs, tuple(constants_in(closed.jaxpr, closed.consts))


@functools.cache
def _scoped(kind: Any) -> Any:
    """The class of a module, whose operations bear the module's path in the trace."""

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


def _fix_attention(
    model: nnx.Module, variables: Mapping[str, tuple[Numbers, ...]], wiring: Wiring
) -> None:
    """Flax's attention keeps heads as an axis of its kernels, and their width as an attribute."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, nnx.MultiHeadAttention):
            prefix = "".join(f"{part}." for part in path)
            kernels = {part: f"{prefix}{part}.kernel" for part in ("query", "key", "value")}
            for kernel in kernels.values():
                wiring.fix(variables[kernel][-1], f"the width of heads in {prefix[:-1]}")
            for part, count in (("query", "num_heads"), ("key", "num_kv_heads")):
                if hasattr(module, count):
                    heads = variables[kernels[part]][-2]
                    wiring.counts.append(Count(dotted(path), count, heads))


def _groups(
    parts: Mapping[str, tuple[Numbers, ...]], reasons: Mapping[int, str]
) -> tuple[Group, ...]:
    """Channels that lie along the same axes, together."""
    axes_of: dict[int, list[tuple[str, int]]] = {}
    for path, axes in parts.items():
        for axis, numbers in enumerate(axes):
            # The only channel of a layer could not go.
            for channel in np.unique(numbers).tolist() if len(numbers) > 1 else ():
                axes_of.setdefault(channel, []).append((path, axis))
    together: dict[Any, list[int]] = {}
    for channel, places in axes_of.items():
        # What lies along one axis alone is no channel: height and width of a kernel, a vocabulary.
        if len(places) > 1:
            together.setdefault((tuple(places), reasons.get(channel, "")), []).append(channel)
    groups: list[Group] = []
    names: dict[str, int] = {}
    for (places, reason), channels in together.items():
        maker = next(
            (path for path, axis in places if axis and axis == len(parts[path]) - 1), places[0][0]
        )
        name = maker.rpartition(".")[0] or maker
        names[name] = names.get(name, 0) + 1
        name += f"#{names[name]}" if names[name] > 1 else ""
        # In the order of the axis that names the group.
        axis = max(axis for path, axis in places if path == maker)
        order = [c for c in dict.fromkeys(parts[maker][axis].tolist()) if c in set(channels)]
        index = np.full(max(axes_of) + 1, -1)
        index[order] = np.arange(len(order))
        if len(order) == 1:
            reason = reason or "all of its channels hang together"
        made = tuple(Place(path, axis, index[parts[path][axis]]) for path, axis in places)
        groups.append(Group(name, len(order), made, reason))
    return tuple(groups)
