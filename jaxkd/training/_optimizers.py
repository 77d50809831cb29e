"""Optimizers that silently do something else at another place of a chain, or with other losses."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxkd.networks import PyTree
from jaxkd.objective import Objective, is_traced
from jaxkd.training.dot import DotState

# A number of updates at which schedules have ended and most intervals between masks are over.
_LATE = 1_801_800_000
# Axes of the arrays that a chain is tried on, and updates until masks are made.
_SIZE, _UPDATES = 8, 16


def check_optimizer(optimizer: Any, objective: Objective, params: PyTree) -> None:
    """Refuses a chain in which a transformation of jaxkd stands at a place without effect.

    Args:
      optimizer: an optax transformation.
      objective: what is minimized.
      params: parameters of student and connectors, of which shapes alone count.

    Raises:
      ValueError: pruning that leaves masked weights at other values than zero, since something
        behind it changes them; something before `dot`, which uses other gradients.
    """
    if is_traced(jnp.zeros(())):
        return  # a member of a population, which was checked before it was traced
    state = jax.eval_shape(optimizer.init, params)
    for path, _ in _find(state, DotState):
        if any(getattr(key, "idx", 0) for key in path):
            raise ValueError(
                "dot uses the separate gradients of task and distillation, so that what stands "
                "before it in a chain has no effect: write optax.chain(dot(…), …), and decay "
                "weights by its argument weight_decay="
            )
    if _find(state, optax.MultiStepsState):
        _warn_of_unequal_counts(objective)
    if _find(state, _prunes):
        _check_pruning(optimizer, params)


def apply_optimizer(
    optimizer: Any, gradients: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    """Calls an optimizer's update with what it takes of further arguments.

    Args:
      optimizer: an optax transformation; `optax.contrib.sam` for one is declared to take further
        arguments and takes none.
      gradients: the gradients.
      state: its state.
      params: the parameters.
      **extra: further arguments by name, such as the loss as `value`.

    Returns:
      The updates and the new state.
    """
    update = optax.with_extra_args_support(optimizer).update
    taken = inspect.signature(update).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        extra = {name: value for name, value in extra.items() if name in taken}
    updates, state = update(gradients, state, params, **extra)
    return updates, state


def _find(state: PyTree, kind: Any) -> list[tuple[Any, Any]]:
    """Returns paths and parts of an optimizer's state that are of a class, or fulfil a test."""
    test = (lambda node: isinstance(node, kind)) if isinstance(kind, type) else kind
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=test)
    return [(path, node) for path, node in leaves if test(node)]


def _prunes(node: Any) -> bool:
    """Whether a part of a state is that of `magnitude_pruning`, which stands above training."""
    return isinstance(getattr(node, "masks", None), Mapping) and hasattr(node, "sparsity")


def _warn_of_unequal_counts(objective: Objective) -> None:
    counting = [name for name, term in objective.terms.items() if term.kind == "sum_and_count"]
    if counting:
        warnings.warn(
            f"optax.MultiSteps takes the mean of the gradients of several batches, as if the terms "
            f"{counting} counted as many tokens in each; where they do not, the update is not that "
            "of all tokens together. make_train_step(…, micro_batches=k) with batches k times as "
            "large gives that update",
            stacklevel=4,
        )


def _check_pruning(optimizer: Any, params: PyTree) -> None:
    """Updates small arrays: whatever is masked must be zero afterwards."""
    try:
        wrong = _unmasked(optimizer, _arrays(params, _SIZE))
    except ValueError:  # arrays that do not fall into groups
        wrong = _unmasked(optimizer, _arrays(params, None))
    if wrong:
        raise ValueError(
            f"pruning has no effect: after an update, masked weights of {wrong[:3]} are not zero, "
            "since the optimizer changes the updates behind it. Write it last, "
            "optax.chain(optax.adamw(…), magnitude_pruning(…))"
        )


def _unmasked(optimizer: Any, params: PyTree) -> list[str]:
    """Returns the paths of arrays that are masked after an update, and not zero."""
    state = optimizer.init(params)
    state = jax.tree.map(
        lambda node: node._replace(step=jnp.full_like(node.step, _LATE)) if _prunes(node) else node,
        state,
        is_leaf=_prunes,
    )

    @jax.jit
    def update(state, params):
        extra = {
            "value": jnp.zeros(()),
            "task_updates": params,
            "distillation_updates": params,
        }
        updates, state = apply_optimizer(optimizer, params, state, params, **extra)
        return state, optax.apply_updates(params, updates)

    for _ in range(_UPDATES):
        state, params = update(state, params)
        masks = {name: m for _, node in _find(state, _prunes) for name, m in node.masks.items()}
        if not all(np.all(mask) for mask in masks.values()):
            break
    leaves = jax.tree_util.tree_leaves_with_path(params)
    values = {jax.tree_util.keystr(p, simple=True, separator="."): leaf for p, leaf in leaves}
    return [name for name, mask in masks.items() if np.any(np.asarray(values[name])[~mask])]


def _arrays(params: PyTree, size: int | None) -> PyTree:
    """Makes arrays like the parameters, with axes of at most a size."""
    generator = np.random.default_rng(0)

    def array(leaf: Any) -> jax.Array:
        shape = tuple(axis if size is None else min(axis, size) for axis in np.shape(leaf))
        return jnp.asarray(generator.normal(size=shape), jnp.result_type(leaf))

    return jax.tree.map(array, params)
