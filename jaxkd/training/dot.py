"""DOT: stochastic gradient descent with separate momenta for task and distillation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class DotState(NamedTuple):
    """State of `dot`.

    Attributes:
      step: int32, number of updates made.
      task: momentum buffers of the task's gradients.
      distillation: momentum buffers of the distillation's gradients.
    """

    step: jax.Array
    task: optax.Updates
    distillation: optax.Updates


def dot(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    delta: float = 0.075,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Returns the distillation-oriented trainer, SGD with a larger momentum for distillation.

    The task's gradient g and the distillation's gradient h have momenta of their own, so that the
    student follows the teacher into flatter minima before the labels pull it elsewhere:

        v ← (momentum − delta) v + (1 − dampening) (g + weight_decay · θ)
        u ← (momentum + delta) u + (1 − dampening) h
        θ ← θ − learning_rate (v + u)

    The first gradients fill the buffers undampened, as in PyTorch's SGD. A parameter that has only
    one of the two gradients (a connector has no task) keeps the plain momentum; one without a task
    gradient decays with its distillation gradient, from the second step on, as in the authors'
    code. There a task momentum of exactly 0 means no buffer at all: task gradients are then used as
    they are, without dampening, also for parameters that have no other.

    Args:
      learning_rate: number or optax schedule.
      momentum: the mean of the two momenta.
      delta: half of their difference; 0.075 for CIFAR, 0.09 for ImageNet. 0 is SGD with momentum.
      dampening: share of each gradient after the first that is kept out of its buffer, in [0, 1].
      weight_decay: factor of the parameters added to the task's gradient.

    Returns:
      An optax transformation. Its `update` needs the keywords `task_updates` and
      `distillation_updates`, trees like the parameters, with None for leaves without that
      gradient, the same ones at all steps; `make_train_step(…, split_gradients=True)` passes them.

    Raises:
      ValueError: momenta outside of [0, 1), a dampening outside of [0, 1]; while updating,
        gradients that were not split.

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

    if not 0 <= dampening <= 1:
        raise ValueError(
            f"dampening must lie in [0, 1], got {dampening}: it is the share of each gradient that "
            "is kept out of the momentum buffers"
        )
    task_buffers = momentum != delta

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
                "dot needs separate gradients of task and distillation: make the step with "
                "make_train_step(…, split_gradients=True), with terms of both kinds"
            )
        if params is None:
            raise ValueError("dot decays weights: pass params to update")
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate
        later = state.step > 0
        gain = jnp.where(later, 1 - dampening, 1.0) if dampening else 1.0

        leaves: list[Any]
        tree: Any
        leaves, tree = jax.tree.flatten(params)
        columns = [leaves, *(_leaves(t, tree) for t in (task_updates, distillation_updates))]
        columns += [tree.flatten_up_to(t) for t in (state.task, state.distillation)]
        results = []
        for parameter, task, distillation, v, u in zip(*columns, strict=True):
            has_both = task is not None and distillation is not None
            # A parameter with one of the gradients alone has nothing to separate: plain momentum.
            fast, slow = (momentum - delta, momentum + delta) if has_both else (momentum, momentum)
            if task is not None:
                g = task + weight_decay * parameter
                v = fast * v + gain * g if task_buffers else g
            if distillation is not None:
                # The task's gradient decays the weights, where there is one.
                decay = 0.0 if has_both else jnp.where(later, weight_decay, 0.0) * parameter
                u = slow * u + gain * (distillation + decay)
            change = (0 if task is None else v) + (0 if distillation is None else u)
            results.append((jnp.asarray(-rate * change, parameter.dtype), v, u))
        change, v, u = (tree.unflatten(column) for column in zip(*results, strict=True))
        return change, DotState(optax.safe_increment(state.step), v, u)

    return optax.GradientTransformationExtraArgs(init, update)


def _leaves(gradients: Any, tree: Any) -> list[Any]:
    """Returns the leaves in the order of the parameters, None where there is no gradient."""
    leaves, structure = jax.tree.flatten(gradients, is_leaf=lambda leaf: leaf is None)
    if structure != tree:
        raise ValueError(f"gradients and parameters differ in structure: {structure} and {tree}")
    return leaves
