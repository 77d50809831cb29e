"""Features: outputs of submodules, captured while a network is called."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.networks._network import dotted
from jaxkd.networks._outputs import place, structure

# The word that accepts a value of each layer, where a submodule runs inside a scan.
_STACKED = "stacked"
_ATTRIBUTE = "_path_of_feature"
# Flax NNX has no interceptor of calls, so that classes are changed while a network is called. Two
# threads that overlap would leave each other's change behind.
_RECORDING = threading.RLock()

Ranks = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature as it is asked for: `"blocks.3"`, `"blocks.3:0"`, `"layers:stacked"`.

    Attributes:
      name: name of the output.
      path: path of the submodule, with dots.
      place: dotted place in what it returns.
    """

    name: str
    path: str
    place: str

    @classmethod
    def parse(cls, features: Mapping[str, str] | None) -> "tuple[Feature, ...]":
        """Reads an argument `features` of an adapter.

        Args:
          features: name → path, with a place after a colon.

        Returns:
          The features.

        Raises:
          TypeError: something else.
        """
        if features is not None and (
            not isinstance(features, Mapping)
            or not all(isinstance(item, str) for pair in features.items() for item in pair)
        ):
            raise TypeError(
                "features maps names of outputs to paths of submodules, "
                f"features={{'stage3': 'blocks.3'}}, not {features!r}"
            )
        split = {name: path.partition(":") for name, path in (features or {}).items()}
        return tuple(cls(name, path, place) for name, (path, _, place) in split.items())

    def select(self, captured: Mapping[Any, Any], ranks: Ranks) -> jax.Array:
        """Returns the feature among captured values.

        Args:
          captured: values by submodule and method, nested.
          ranks: numbers of axes of what each submodule returned where it was called.

        Raises:
          ValueError: a submodule that was called never or more than once, that returns no array,
            or that runs inside a scan.
        """
        node: Any = captured
        for part in self.path.split("."):
            node = {str(key): value for key, value in node.items()}.get(part, {})
        values = node.get("__call__", ())
        what = f"feature {self.name!r}"
        if len(values) != 1:
            lifted = not values and self.path in ranks
            raise ValueError(
                f"{what}: the submodule {self.path!r} was called {len(values)} times in the "
                "forward pass; a feature needs a submodule that is called exactly once"
                + (
                    ". It runs inside nn.scan or nn.vmap, which hands on no intermediates: add "
                    f"variable_axes={{'intermediates': 0}}, and ask for '{self.path}:{_STACKED}'"
                    if lifted
                    else ""
                )
            )
        value, inner = values[0], ranks.get(self.path)
        added = _added(value, inner)
        if added and self.place.partition(".")[0] != _STACKED:
            axes = list(jax.tree.leaves(value)[0].shape[:added])
            raise ValueError(
                f"{what}: the submodule {self.path!r} runs inside a scan or vmap of {axes}: "
                f"'{self.path}:{_STACKED}' is the output of every layer, [batch, layers, …]"
            )
        path = self.place.partition(".")[2] if added else self.place
        found = place(value, path, what, f"the submodule {self.path!r}")
        if not hasattr(found, "shape"):
            raise ValueError(
                f"{what}: the submodule {self.path!r} returns {structure(found)}, which is no "
                f"array: say which part, as in '{self.path}:{_first_place(found, self.place)}'"
            )
        before = tuple(range(added))
        return jnp.moveaxis(found, before, tuple(i + 1 for i in before)) if added else found


def _added(value: Any, inner: Any) -> int:
    """Returns how many axes a value has gained on its way out of the call."""
    outer, inside = jax.tree.leaves(jax.tree.map(jnp.ndim, value)), jax.tree.leaves(inner)
    return outer[0] - inside[0] if outer and len(outer) == len(inside) else 0


def _first_place(found: Any, prefix: str) -> str:
    if isinstance(found, Mapping):
        key = str(next(iter(found), "…"))
    else:
        key = next(iter(getattr(found, "_fields", ())), "0")
    return f"{prefix}.{key}" if prefix else key


@contextlib.contextmanager
def recorded_linen_ranks(features: tuple[Feature, ...]) -> Iterator[Ranks]:
    """Records how many axes the outputs of Linen's submodules have where they are called.

    Args:
      features: the features that are asked for.

    Yields:
      Path → pytree of numbers of axes, filled by the calls inside.
    """
    ranks: Ranks = {}
    wanted = {feature.path for feature in features}

    def record(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = function(*args, **kwargs)
        path = ".".join(context.module.path)
        if context.method_name == "__call__" and path in wanted:
            ranks[path] = jax.tree.map(jnp.ndim, result)
        return result

    with nn.intercept_methods(record) if wanted else contextlib.nullcontext():
        yield ranks


@contextlib.contextmanager
def recorded_nnx_ranks(module: nnx.Module, features: tuple[Feature, ...]) -> Iterator[Ranks]:
    """Records the same of an NNX module, whose submodules get an attribute for it.

    Args:
      module: a module that is called once.
      features: the features that are asked for.

    Yields:
      Path → pytree of numbers of axes, filled by the calls inside.
    """
    ranks: Ranks = {}
    wanted, kinds = {feature.path for feature in features}, set()
    for keys, submodule in nnx.iter_modules(module):
        path = dotted(keys)
        if path in wanted:
            setattr(submodule, _ATTRIBUTE, path)
            kinds.add(type(submodule))

    def recorded(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def record(submodule: Any, *args: Any, **kwargs: Any) -> Any:
            result = call(submodule, *args, **kwargs)
            if path := vars(submodule).get(_ATTRIBUTE):
                ranks[path] = jax.tree.map(jnp.ndim, result)
            return result

        return record

    calls = {kind: kind.__call__ for kind in kinds}
    with _RECORDING, contextlib.ExitStack() as stack:
        for kind, call in calls.items():
            stack.enter_context(mock.patch.object(kind, "__call__", recorded(call)))
        yield ranks
