"""DOT: stochastic gradient descent with one momentum for the task and one for the distillation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class DotState(NamedTuple):
    """State of `dot`.

    Attributes:
      step: int32, number of updates made.
      task: the momentum buffers of the task's gradients.
      distillation: those of the distillation's.
    """

    step: jax.Array
    task: optax.Updates
    distillation: optax.Updates


def dot(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    delta: float = 0.075,
    weight_decay: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """The distillation-oriented trainer: SGD in which the distillation has the longer memory.

    The task's gradient g and the distillation's h have their own momenta, so that the student
    follows the teacher into flatter minima before the labels pull it elsewhere:

        v ← (momentum − delta) v + g + weight_decay · θ
        u ← (momentum + delta) u + h
        θ ← θ − learning_rate (v + u)

    A parameter that has only one of the two gradients (a connector has no task) keeps the plain
    momentum; one without a task gradient decays with its distillation gradient, from the second
    step on, as in the authors' code.

    Args:
      learning_rate: number or optax schedule.
      momentum: the mean of the two momenta.
      delta: half their difference; 0.075 for CIFAR, 0.09 for ImageNet. 0 is SGD with momentum.
      weight_decay: factor of the parameters added to the task's gradient.

    Returns:
      An optax transformation. Its `update` needs the keywords `task_updates` and
      `distillation_updates`, trees like the parameters, with None for leaves without that
      gradient; `make_train_step(…, split_gradients=True)` passes them.

    Raises:
      ValueError: momenta outside of [0, 1); while updating, gradients that were not split.

    Example:
      >>> optimizer = dot(0.1, momentum=0.9, delta=0.0)
      >>> params = {"w": jnp.array(1.0)}
      >>> state = optimizer.init(params)
      >>> half = {"w": jnp.array(0.5)}
      >>> updates, state = optimizer.update(
      ...     {"w": jnp.array(1.0)}, state, params, task_updates=half, distillation_updates=half)
      >>> print(f"{updates['w']:.3f}")
      -0.100

    References:
      Zhao et al., DOT: A Distillation-Oriented Trainer, 2023; authors' code in mdistiller.
    """
    if not 0 <= momentum - abs(delta) <= momentum + abs(delta) < 1:
        raise ValueError(
            f"momentum ± delta must lie in [0, 1), got {momentum} ± {delta}: choose a smaller delta"
        )

    def init(params: optax.Params) -> DotState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return DotState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros))

    def update(
        updates: optax.Updates,
        state: DotState,
        params: optax.Params | None = None,
        *,
        task_updates: Any = None,
        distillation_updates: Any = None,
        **_: Any,
    ) -> tuple[optax.Updates, DotState]:
        if task_updates is None or distillation_updates is None:
            raise ValueError(
                "dot needs the gradients of task and distillation apart: make the step with "
                "make_train_step(…, split_gradients=True), with terms of both kinds"
            )
        if params is None:
            raise ValueError("dot decays weights: pass params to update")
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate
        later = state.step > 0

        leaves: list[Any]
        tree: Any
        leaves, tree = jax.tree.flatten(params)
        columns = [leaves, *(_leaves(t, tree) for t in (task_updates, distillation_updates))]
        columns += [tree.flatten_up_to(t) for t in (state.task, state.distillation)]
        moved = []
        for parameter, task, distillation, v, u in zip(*columns, strict=True):
            both = task is not None and distillation is not None
            if task is not None:
                v = (momentum - delta if both else momentum) * v + task + weight_decay * parameter
            if distillation is not None:
                decay = 0.0 if both else jnp.where(later, weight_decay, 0.0) * parameter
                u = (momentum + delta if both else momentum) * u + distillation + decay
            change = (0 if task is None else v) + (0 if distillation is None else u)
            moved.append((jnp.asarray(-rate * change, parameter.dtype), v, u))
        change, v, u = (tree.unflatten(column) for column in zip(*moved, strict=True))
        return change, DotState(optax.safe_increment(state.step), v, u)

    return optax.GradientTransformationExtraArgs(init, update)


def _leaves(gradients: Any, tree: Any) -> list[Any]:
    """The leaves under the tree of the parameters, None where there is no gradient."""
    leaves, own = jax.tree.flatten(gradients, is_leaf=lambda leaf: leaf is None)
    if own != tree:
        raise ValueError(f"gradients and parameters differ in structure: {own} and {tree}")
    return leaves
