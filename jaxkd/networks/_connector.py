"""What is trained between the two networks, as a pure function with named arguments."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from jaxkd.networks._architecture import MODE_ARGUMENTS
from jaxkd.networks._network import Network, PyTree
from jaxkd.networks._outputs import logits_of
from jaxkd.networks._pure_module import PureModule


@dataclasses.dataclass(frozen=True, eq=False)
class Connector:
    """A pure function between the outputs of two networks and the arguments of a loss.

    Attributes:
      apply: `apply(params, state, student, *, train=False, key=None, **required)` returns a mapping
        of arguments of the loss, `"student"` and perhaps others, and the new state.
      params: trained parameters.
      state: what changes without being trained: batch statistics, memory banks, constants.
      requires: names of further arguments: `teacher`, `labels`, `where`, `step`, or a field of the
        batch.
      name: name in messages.
      random_layers: paths of the layers that are random in training; this and `statistics` as of a
        `Network`.
      statistics: paths of the statistics that training moves.

    Example:
      >>> import jax.numpy as jnp
      >>> def scale(params, state, student, *, train=False, key=None):
      ...     return {"student": params * student}, state
      >>> connector = Connector(scale, jnp.array(2.0), {}, frozenset(), "scale")
      >>> connector.apply(connector.params, connector.state, jnp.ones(2))[0]["student"].tolist()
      [2.0, 2.0]
    """

    apply: Callable[..., tuple[dict[str, Any], PyTree]]
    params: PyTree
    state: PyTree
    requires: frozenset[str]
    name: str
    random_layers: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()


def as_connector(source: nnx.Module | Network | Connector) -> Connector:
    """Makes a connector of an NNX module, or of a network (Linen, a function).

    Args:
      source: an NNX module is called with the student's output first (a tuple of them if a term
        names several) and, by name, with whatever else its `__call__` has a parameter for. It
        returns the new student output, or a mapping of arguments of the loss. A `Network` is
        called with the student's output; what it returns as `"logits"` becomes `student`, its
        other outputs are arguments by their names.

    Returns:
      A connector; that of a network gets the student's output alone.

    Raises:
      TypeError: a source that is neither a module nor a network.
      ValueError: when first called, a network without an output `"logits"`.

    Example:
      >>> from flax import nnx
      >>> sorted(as_connector(nnx.Linear(4, 8, rngs=nnx.Rngs(0))).params)
      ['bias', 'kernel']
    """
    if isinstance(source, Connector):
        return source
    if isinstance(source, Network):
        network = source

        def apply_network(params, state, student, *, train=False, key=None):
            outputs, state = network.apply(params, state, student, train=train, key=key)
            logits = logits_of(outputs, "a network as connector", network.name)
            others = {name: value for name, value in outputs.items() if name != "logits"}
            return {"student": logits, **others}, state

        return Connector(
            apply_network,
            network.params,
            network.state,
            frozenset(),
            network.name,
            network.random_layers,
            network.statistics,
        )
    if not isinstance(source, nnx.Module):
        raise TypeError(
            f"a connector is an NNX module, or a network made by jaxkd.from_linen or "
            f"jaxkd.from_function, not {type(source).__name__}"
        )
    pure = PureModule(source)

    def apply(params, state, student, *, train=False, key=None, **required):
        result, _, state = pure(params, state, (student,), required, train=train, key=key)
        return dict(result) if isinstance(result, Mapping) else {"student": result}, state

    return Connector(
        apply,
        pure.params,
        pure.state,
        _required(source),
        type(source).__name__,
        pure.random_layers,
        pure.statistics,
    )


def _required(module: nnx.Module) -> frozenset[str]:
    """Returns the names of what a module's call requires after its first argument."""
    parameters = list(inspect.signature(type(module).__call__).parameters.values())[2:]
    names = {
        p.name
        for p in parameters
        if p.name not in (*MODE_ARGUMENTS, "rngs")
        and (p.default is p.empty or p.name in ("teacher", "labels", "where", "step"))
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    return frozenset(names)
