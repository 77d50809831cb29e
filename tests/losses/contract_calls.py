"""Compiled calls of the losses, each shared by as many checks as possible: compiling is slow."""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from contract import BATCH, Entry, Inputs

# Half the time of compilation; arithmetic is then not contracted, which the main call is to show.
QUICK = {"xla_backend_optimization_level": 0}


class Evaluation(NamedTuple):
    """A loss and its gradients.

    Attributes:
      value: `[batch]` or a scalar.
      gradient: of the sum of the values, with respect to the student.
      to_teacher: the same with respect to the teacher.
      to_learned_teacher: the same with `learned_teacher`; None for a loss that does not take it.
    """

    value: jax.Array
    gradient: Any
    to_teacher: Any
    to_learned_teacher: Any


def evaluate(entry: Entry, inputs: Inputs, keywords: dict[str, Any]) -> Evaluation:
    def total(student, teacher, **more):
        value = entry.loss(student, teacher, *inputs[2:], **keywords, **more)
        return jnp.sum(value), value

    slopes, value = jax.grad(total, (0, 1), has_aux=True)(*inputs[:2])
    to_learned = None
    if entry.may_learn_teacher:
        call = functools.partial(total, learned_teacher=True)
        to_learned, _ = jax.grad(call, 1, has_aux=True)(*inputs[:2])
    return Evaluation(value, *slopes, to_learned)


@functools.cache
def compiled(entry: Entry):
    return jax.jit(functools.partial(evaluate, entry))


def evaluated(entry: Entry, inputs: Inputs, **keywords: Any) -> Evaluation:
    """The loss and its gradients by the one compiled call, which has a mask and a temperature."""
    keywords.setdefault("where", np.ones(BATCH, bool))
    if entry.has_temperature:
        keywords.setdefault("temperature", entry.temperature)
        keywords["temperature"] = jnp.asarray(keywords["temperature"], jnp.float32)
    return jax.device_get(compiled(entry)(inputs, keywords))


@functools.cache
def usual(entry: Entry) -> Evaluation:
    """The evaluation at the entry's first inputs."""
    return evaluated(entry, entry.inputs())


def slope(entry: Entry, inputs: Inputs, keywords: dict[str, Any]) -> tuple[jax.Array, Any]:
    """The loss and its gradient to the student alone."""

    def total(student):
        value = entry.loss(student, *inputs[1:], **keywords)
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(inputs.student)
    return value, gradient


def quick(entry: Entry):
    """`slope`, compiled with little care for speed."""
    return jax.jit(functools.partial(slope, entry), compiler_options=QUICK)


def assert_close(actual: Any, expected: Any, scale: float = 1.0, rtol: float = 1e-5) -> None:
    """Equal up to `rtol` of the largest entry of each array, and to `scale` times 1e-6."""
    chex.assert_trees_all_equal_structs(actual, expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        largest = np.max(np.abs(other), initial=0.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * largest + 1e-6 * scale)


def assert_none(tree: Any) -> None:
    """All exactly zero."""
    chex.assert_trees_all_equal(tree, jax.tree.map(np.zeros_like, tree))


def rows(tree: Any, where: Any) -> Any:
    """The chosen examples of all arrays."""
    return jax.tree.map(lambda x: x[where], tree)
