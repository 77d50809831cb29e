"""Pairs of teachers: the one that a cache is built with, and one that looks like it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxkd
from benchmarks.contract_attacks_parts.setting import WEIGHTS
from jaxkd.networks import Network

PAIRS: list[tuple[str, Callable[[bool], Network]]] = []


def pair(make: Callable[[bool], Network]) -> Callable[[bool], Network]:
    """Registers a maker of the right teacher (False) and of the wrong one (True)."""
    PAIRS.append((make.__name__.replace("_", " "), make))
    return make


def function(apply: Any, params: Any = WEIGHTS) -> Network:
    """Adapts a function of `(params, inputs)`."""
    return jaxkd.from_function(apply, jax.tree.map(jnp.asarray, params))
