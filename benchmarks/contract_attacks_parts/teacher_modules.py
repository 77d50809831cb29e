"""Teachers of Flax modules whose code or attributes were edited, as in every notebook."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

import jaxkd
from benchmarks.contract_attacks_parts.pairs import pair
from benchmarks.contract_attacks_parts.setting import CLASSES, WIDTH, flat


def _edited(call, base=nnx.Module, **attributes):
    """A class as a notebook's cell makes it anew: the same name, another `__call__`."""

    class Cell(base):
        def __init__(self):
            self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
            for name, value in attributes.items():
                setattr(self, name, value)

    if call is not None:
        Cell.__call__ = call
    return jaxkd.from_nnx(Cell())


@pair
def edited_class(wrong):
    if wrong:
        return _edited(lambda self, x: jax.nn.gelu(self.layer(flat(x))))
    return _edited(lambda self, x: jax.nn.relu(self.layer(flat(x))))


@pair
def edited_method_of_the_class(wrong):
    class Cell(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.head(self.layer(flat(x)))

    Cell.head = (lambda self, x: x * 2) if wrong else (lambda self, x: x)
    return jaxkd.from_nnx(Cell())


@pair
def edited_base_class(wrong):
    class Base(nnx.Module):
        def __call__(self, x):
            return jnp.tanh(self.layer(flat(x))) if wrong else self.layer(flat(x))

    return _edited(None, Base)


@pair
def attribute_of_the_class(wrong):
    class Base(nnx.Module):
        slope = 2.0 if wrong else 1.0

    return _edited(lambda self, x: self.layer(flat(x)) * self.slope, Base)


@pair
def lambda_in_an_attribute(wrong):
    act = (lambda x: x * 2) if wrong else (lambda x: x)
    return _edited(lambda self, x: self.act(self.layer(flat(x))), act=act)


@pair
def lambda_in_a_Sequential(wrong):
    act = (lambda x: jnp.tanh(x)) if wrong else (lambda x: jax.nn.relu(x))
    layer = nnx.Linear(WIDTH, CLASSES, rngs=nnx.Rngs(0))
    return jaxkd.from_nnx(nnx.Sequential(flat, layer, act))


class Options:
    """A configuration that is no dataclass."""

    def __init__(self, slope):
        self.slope = slope


@pair
def configuration_object(wrong):
    options = Options(2.0 if wrong else 1.0)
    return _edited(lambda self, x: self.layer(flat(x)) * self.options.slope, options=options)


@pair
def number_in_an_attribute(wrong):
    return _edited(lambda self, x: self.layer(flat(x)) * self.slope, slope=2.0 if wrong else 1.0)


@pair
def edited_Linen_class(wrong):
    class Cell(nn.Module):
        @nn.compact
        def __call__(self, x):
            logits = nn.Dense(CLASSES)(flat(x))
            return jnp.tanh(logits) if wrong else logits

    cell = Cell()
    return jaxkd.from_linen(cell, cell.init(jax.random.key(0), jnp.ones((1, WIDTH))))


@pair
def lambda_in_a_Linen_attribute(wrong):
    class Cell(nn.Module):
        act: Any

        @nn.compact
        def __call__(self, x):
            return self.act(nn.Dense(CLASSES)(flat(x)))

    cell = Cell((lambda x: x * 2) if wrong else (lambda x: x))
    return jaxkd.from_linen(cell, cell.init(jax.random.key(0), jnp.ones((1, WIDTH))))
