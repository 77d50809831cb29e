"""Named outputs, from whatever a network returns."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

# What the adapters take as `outputs`.
Selection = Mapping[str, str] | Callable[[Any], Any] | None


def check_selection(outputs: Selection) -> None:
    """Refuses an argument `outputs` that is neither a function nor a mapping of names to places.

    Args:
      outputs: what was given.

    Raises:
      TypeError: something else; the message has an example.
    """
    if outputs is None or (callable(outputs) and not isinstance(outputs, Mapping)):
        return
    if not isinstance(outputs, Mapping) or not all(
        isinstance(item, str) for pair in outputs.items() for item in pair
    ):
        raise TypeError(
            "outputs maps names to dotted places in what the network returns, "
            "outputs={'logits': '0', 'stage3': '1.stage3'}, or is a function of it, "
            f"outputs=lambda result: {{'logits': result[0]}}, not {outputs!r}"
        )


def named(result: Any, outputs: Selection = None, name: str = "the network") -> dict[str, Any]:
    """Returns outputs by name, from whatever a network returned.

    Args:
      result: an array, which becomes `"logits"`; a mapping, named tuple or dataclass, whose fields
        keep their names, nested ones with dots; `(logits, mapping)`; anything, with `outputs`.
      outputs: a function that makes one of these of the result, or names with dotted places.
      name: name of the network, for messages.

    Returns:
      Name → array. Fields that are None are left out.

    Raises:
      TypeError: a result that has no names, such as a tuple; shows its structure.
      ValueError: a place that the result does not have; two outputs of one name.
    """
    if isinstance(outputs, Mapping):
        found = [
            pair
            for key, path in outputs.items()
            for pair in _leaves(place(result, path, f"output {key!r}", name), key, name)
        ]
    else:
        if outputs is not None:
            result = outputs(result)
        found = list(_by_default(result, name))
    by_name = dict(found)
    if len(by_name) < len(found):
        twice = sorted({key for key, _ in found if [k for k, _ in found].count(key) > 1})
        raise ValueError(f"{name} returns several outputs called {twice}: name them with outputs=")
    if not by_name:
        raise TypeError(f"{name} returns no arrays, but {structure(result)}")
    return by_name


def logits_of(
    outputs: Mapping[str, Any], what: str, name: str = "the network", *, module: bool = False
) -> Any:
    """Returns the logits among a network's outputs, for what cannot do without them.

    Args:
      outputs: outputs by name.
      what: what needs them, the begin of the message, such as `"accuracy"`.
      name: name of the network.
      module: whether a module was given, which has no adapter yet.

    Returns:
      `outputs["logits"]`.

    Raises:
      ValueError: no logits; says how to name them.
    """
    if "logits" not in outputs:
        remedy = (
            "return it under this name, return {'logits': …}, from its __call__"
            if module
            else "name it in the adapter, outputs={'logits': '…'}"
        )
        raise ValueError(f"{what} needs an output 'logits'; {name} has {sorted(outputs)}: {remedy}")
    return outputs["logits"]


def place(result: Any, path: str, what: str, name: str) -> Any:
    """Returns what lies at a dotted place: an index, a key or an attribute a part.

    Args:
      result: what a network or one of its submodules returned.
      path: the place, such as `"1.stage3"`.
      what: what is looked for, for messages.
      name: name of the network.

    Returns:
      A part of the result.

    Raises:
      ValueError: no such place; shows the structure.
    """
    node, rest = result, path
    while rest:
        parts = dict(_children(node))
        # Keys may have dots themselves, so that the longest one counts.
        key = max((k for k in parts if rest == k or rest.startswith(f"{k}.")), key=len, default="")
        if not key and hasattr(node, rest.partition(".")[0]) and not hasattr(node, "shape"):
            key = rest.partition(".")[0]
            parts = {key: getattr(node, key)}
        if key not in parts:
            raise ValueError(f"{what}: {name} returns nothing at {path!r}, but {structure(result)}")
        node, rest = parts[key], rest[len(key) + 1 :]
    return node


def structure(result: Any, depth: int = 3) -> str:
    """Returns the structure of a result as a text: types, names and shapes.

    Args:
      result: anything.
      depth: levels that are shown.
    """
    if result is None or isinstance(result, bool | int | float | str):
        return repr(result)
    if _is_array(result):
        return f"{result.dtype}{list(result.shape)}"
    children, kind = list(_children(result)), type(result).__name__
    if not children or not depth:
        return kind
    inside = [f"{key}: {structure(value, depth - 1)}" for key, value in children[:6]]
    more = [f"{len(children) - 6} more"] if len(children) > 6 else []
    return f"{kind}({', '.join(inside + more)})"


def _by_default(result: Any, name: str) -> Iterator[tuple[str, Any]]:
    if _is_array(result):
        yield "logits", _array(result)
    elif _is_pair(result):
        yield "logits", _array(result[0])
        yield from _leaves(result[1], "", name)
    elif _has_names(result):
        yield from _leaves(result, "", name)
    else:
        keys = [key for key, _ in _children(result)] or ["…"]
        names = ["logits", *(f"output{key}" for key in keys[1:3])]
        example = ", ".join(f"{n!r}: {k!r}" for n, k in zip(names, keys, strict=False))
        raise TypeError(
            f"{name} returns {structure(result)}, which has no names: say which parts are its "
            f"outputs, outputs={{{example}}}, or outputs=lambda result: {{…}}. Without it a "
            "network returns an array (the logits), a mapping, named tuple or dataclass of "
            "arrays, or (logits, mapping of features)"
        )


def _leaves(node: Any, prefix: str, name: str) -> Iterator[tuple[str, Any]]:
    if node is None:
        return
    if _is_array(node):
        yield prefix, _array(node)
        return
    if not (_has_names(node) or isinstance(node, tuple | list)):
        raise TypeError(
            f"{name} returns {structure(node)} as {prefix!r}, which is no array: choose the "
            "outputs, outputs={'logits': '…'}, or outputs=lambda result: {…}"
        )
    for key, value in _children(node):
        yield from _leaves(value, f"{prefix}.{key}" if prefix else key, name)


def _children(node: Any) -> list[tuple[str, Any]]:
    """Returns the parts of a result by key, index or field."""
    if isinstance(node, Mapping):
        return [(str(key), value) for key, value in node.items()]
    fields = getattr(node, "_fields", None)
    if isinstance(fields, tuple):
        return [(name, getattr(node, name)) for name in fields]
    if isinstance(node, tuple | list):
        return [(str(index), value) for index, value in enumerate(node)]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return [(f.name, getattr(node, f.name)) for f in dataclasses.fields(node)]
    return []


def _is_pair(result: Any) -> bool:
    """Returns whether a result is `(logits, mapping of features)`."""
    return (
        isinstance(result, tuple)
        and not hasattr(result, "_fields")
        and len(result) == 2
        and _is_array(result[0])
        and isinstance(result[1], Mapping)
    )


def _has_names(node: Any) -> bool:
    is_dataclass = dataclasses.is_dataclass(node) and not isinstance(node, type)
    return isinstance(node, Mapping) or hasattr(node, "_fields") or is_dataclass


def _is_array(value: Any) -> bool:
    if isinstance(value, Mapping):  # whose keys may be attributes as well
        return False
    return (hasattr(value, "shape") and hasattr(value, "dtype")) or (
        isinstance(value, bool | int | float | complex)
    )


def _array(value: Any) -> Any:
    if isinstance(value, nnx.Variable):
        return value.get_value()
    return value if hasattr(value, "shape") else jnp.asarray(value)
