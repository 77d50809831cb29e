"""Refusals of what is no network, or belongs to another adapter."""

import inspect
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import nnx

from jaxkd.networks._arguments import check_kind, shown
from jaxkd.networks._network import Network


def check_network(role: str, value: Any) -> None:
    """Refuses what is no `Network`; says how to make one of it.

    Args:
      role: name of the argument, such as `"teacher"`.
      value: what was given.

    Raises:
      TypeError: something else.
    """
    check_kind(role, value, Network, how_to_wrap(value))


def how_to_wrap(value: Any) -> str:
    """Returns the line that makes a network of a value, for messages.

    Args:
      value: anything that is no network.
    """
    if inspect.isclass(value):
        if issubclass(value, nnx.Module):
            return f"write jaxkd.from_nnx({value.__name__}(…, rngs=nnx.Rngs(0)))"
        if issubclass(value, nn.Module):
            return f"write jaxkd.from_linen({value.__name__}(…), variables)"
        return f"make an object of it, {value.__name__}(…), and wrap that"
    if isinstance(value, nnx.Module):
        return "write jaxkd.from_nnx(module)"
    if isinstance(value, nn.Module):
        return "write jaxkd.from_linen(module, module.init(jax.random.key(0), inputs))"
    if isinstance(value, tuple) and value and isinstance(value[0], Network):
        return "take the network out of it: write network, report = jaxkd.weights.load(…)"
    if isinstance(value, str):
        return f"write jaxkd.from_nnx(jaxkd.models.create({value!r}, …, rngs=nnx.Rngs(0)))"
    if isinstance(value, jax.Array | np.ndarray):
        return (
            "outputs that are computed already come with the batches: write batch['teacher'], or "
            "Loader(dataset, views, batch_size, cache=cache); a function that computes them is "
            "jaxkd.from_function(function, params)"
        )
    if any(base.__module__.split(".")[0] == "torch" for base in type(value).__mro__):
        return (
            "it runs outside of JAX: write jaxkd.cache.build(path, "
            "jaxkd.teachers.from_torch(module), dataset, views), and train from that cache"
        )
    if callable(value):
        return "write jaxkd.from_function(function, params), of (params, inputs)"
    return "write jaxkd.from_nnx(module), from_linen(module, variables) or from_function"


def check_module(adapter: str, value: Any, kind: type) -> None:
    """Refuses what is no module of a framework.

    Args:
      adapter: name of the adapter that was called.
      value: what was given.
      kind: class of the framework's modules.

    Raises:
      TypeError: a network, a class, a module of the other framework, or something else.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, Network):
        raise TypeError(f"{adapter} was given {value.name}, which is a Network already: use it")
    framework = "Flax NNX" if kind is nnx.Module else "Flax Linen"
    raise TypeError(
        f"{adapter} takes a {framework} module, not {shown(value)}: {how_to_wrap(value)}"
    )
