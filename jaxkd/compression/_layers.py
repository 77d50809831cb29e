"""Layers of an NNX module: found by path, chosen by rules, replaced by others."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flax import nnx

from jaxkd.networks._network import dotted


def find_layers(model: nnx.Module, types: type | tuple[type, ...]) -> dict[str, Any]:
    """Finds all layers of exactly these types.

    Subclasses do not count: they may compute something else with the same variables. A layer that
    is used in several places is listed once.

    Args:
      model: the module to search.
      types: type or types of the layers.

    Returns:
      Path → layer, in the order of the paths.
    """
    kinds = types if isinstance(types, tuple) else (types,)
    layers = {
        dotted(path): module for path, module in nnx.iter_modules(model) if type(module) in kinds
    }
    return dict(sorted(layers.items()))


def replace_layers(model: nnx.Module, layers: Mapping[str, nnx.Module]) -> nnx.Module:
    """Copies a module with other layers at some paths.

    Args:
      model: the module; its arrays are shared with the copy where they stay, never changed.
      layers: path → the layer that is put there, and wherever else the model has the same layer.

    Returns:
      The copy.
    """
    if "" in layers:
        return layers[""]
    model = nnx.clone(model)
    old = {dotted(path): module for path, module in nnx.iter_modules(model)}
    replacement = {id(old[path]): layer for path, layer in layers.items()}
    for parent in old.values():
        for key, child in list(nnx.iter_children(parent)):
            if id(child) in replacement:
                if isinstance(key, int):
                    parent[key] = replacement[id(child)]  # type: ignore[index]
                else:
                    setattr(parent, str(key), replacement[id(child)])
    return model


def copy_attributes(new: nnx.Module, old: nnx.Module, *, without: Iterable[str] = ()) -> None:
    """Gives a layer all attributes of another one, including those of newer versions of Flax."""
    for name, value in vars(old).items():
        if not name.startswith("_pytree") and name not in without:
            setattr(new, name, value)


def first_match(path: str, rules: Mapping[str, Any], default: Any) -> Any:
    """Returns the value of the rule of exactly this name, or of the first that matches all of it.

    Args:
      path: the name.
      rules: regular expression → value.
      default: value where no rule matches.
    """
    if path in rules:
        return rules[path]
    return next((value for rule, value in rules.items() if re.fullmatch(rule, path)), default)


def check_rules(rules: Iterable[str], paths: Iterable[str], what: str) -> None:
    """Refuses regular expressions that match none of these names.

    Args:
      rules: the regular expressions.
      paths: the names.
      what: kind of the names, for the message.

    Raises:
      ValueError: a rule matches no name.
    """
    paths = list(paths)
    unused = [
        rule
        for rule in rules
        if rule not in paths and not any(re.fullmatch(rule, path) for path in paths)
    ]
    if unused:
        raise ValueError(f"{unused} match the complete name of no {what}; those are {paths}")


class CallRecorder(nnx.Module):
    """A layer that reports its calls, for a forward pass of a temporary copy.

    Args:
      layer: the layer.
      record: called with the inputs and the outputs of every call.
    """

    def __init__(self, layer: nnx.Module, record: Callable[[Any, Any], None]):
        self.layer, self._record = layer, record

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the layer's result."""
        outputs = self.layer(inputs, *args, **kwargs)
        self._record(inputs, outputs)
        return outputs

    def __getattr__(self, name: str) -> Any:
        """Returns the layer's attribute, for modules that read more of a layer than its result."""
        if name == "layer" or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.layer, name)
