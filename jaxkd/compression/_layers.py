"""Finding layers of an NNX module by path, and putting others in their places."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flax import nnx

from jaxkd.networks._network import dotted


def layers_of(model: nnx.Module, types: type | tuple[type, ...]) -> dict[str, Any]:
    """Path → layer, of all layers of these very types, in order of their paths.

    Subclasses do not count: whoever wrote one may compute something else with the same variables.
    A layer that is used in several places is listed once.
    """
    kinds = types if isinstance(types, tuple) else (types,)
    found = {
        dotted(path): module for path, module in nnx.iter_modules(model) if type(module) in kinds
    }
    return dict(sorted(found.items()))


def replaced(model: nnx.Module, layers: Mapping[str, nnx.Module]) -> nnx.Module:
    """A copy of the module in which other layers stand at some paths.

    Args:
      model: the module; its arrays are shared with the copy where they stay, never changed.
      layers: path → what stands there, and wherever else the model has the same layer.
    """
    if "" in layers:
        return layers[""]
    model = nnx.clone(model)
    old = {dotted(path): module for path, module in nnx.iter_modules(model)}
    instead = {id(old[path]): layer for path, layer in layers.items()}
    for parent in old.values():
        for key, child in list(nnx.iter_children(parent)):
            if id(child) in instead:
                if isinstance(key, int):
                    parent[key] = instead[id(child)]  # type: ignore[index]
                else:
                    setattr(parent, str(key), instead[id(child)])
    return model


def take_over(new: nnx.Module, old: nnx.Module, *, without: Iterable[str] = ()) -> None:
    """Gives a layer all attributes of another one, whatever Flax adds to them one day."""
    for name, value in vars(old).items():
        if not name.startswith("_pytree") and name not in without:
            setattr(new, name, value)


def chosen(path: str, rules: Mapping[str, Any], default: Any) -> Any:
    """What the rule of this very name says, or the first whose expression is the whole of it."""
    if path in rules:
        return rules[path]
    return next((value for rule, value in rules.items() if re.fullmatch(rule, path)), default)


def check_used(rules: Iterable[str], paths: Iterable[str], what: str) -> None:
    """Refuses regular expressions that are the whole of none of these names."""
    paths = list(paths)
    idle = [
        rule
        for rule in rules
        if rule not in paths and not any(re.fullmatch(rule, path) for path in paths)
    ]
    if idle:
        raise ValueError(f"{idle} match the whole name of no {what}; those are {paths}")


class Watched(nnx.Module):
    """A layer that tells of its calls; for a pass through a copy that is then thrown away."""

    def __init__(self, layer: nnx.Module, record: Callable[[Any, Any], None]):
        self.layer, self._record = layer, record

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The layer's own result."""
        outputs = self.layer(inputs, *args, **kwargs)
        self._record(inputs, outputs)
        return outputs

    def __getattr__(self, name: str) -> Any:
        """Of the layer, for modules that read more of their layers than the result."""
        if name == "layer" or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.layer, name)
