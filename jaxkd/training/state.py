"""The whole state of a training run as one pytree."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from jaxkd.networks import Network, PyTree
from jaxkd.networks._network import count_of
from jaxkd.objective import Objective, is_traced

# Parameters and model state, as the fields of a `TrainState`.
Variables = tuple[dict[str, PyTree], dict[str, PyTree]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class TrainState:
    """Everything that trains, is scheduled or is random; saved and restored as a whole.

    `TrainStep.init` creates the first one, a step returns the next one.

    Attributes:
      step: int32, number of updates made.
      params: `{"student": …, "connectors": {term: …}}`.
      model_state: `{"student": …, "connectors": {term: …}}`, batch statistics and the like.
      opt_state: state of the optax transformation.
      key: root PRNG key; the keys of a step are derived from it and the step's number.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, make_train_step, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.zeros((3, 3)))
      >>> step = make_train_step(student, recipes.labels(), optax.sgd(0.1))
      >>> state = step.init(seed=1)
      >>> state
      TrainState(step 0: 9 parameters, 0 numbers in the optimizer's state)
      >>> sorted(state.params)
      ['connectors', 'student']
    """

    step: jax.Array
    params: dict[str, PyTree]
    model_state: dict[str, PyTree]
    opt_state: PyTree
    key: jax.Array

    def __repr__(self) -> str:
        known = isinstance(self.step, jax.Array) and not is_traced(self.step)
        if known and self.step.is_deleted():
            return "TrainState(given away to a later step)"
        step = f"step {int(self.step)}" if known and not np.ndim(self.step) else "of some step"
        optimizer = f"{count_of(self.opt_state, 'number')} in the optimizer's state"
        return f"TrainState({step}: {count_of(self.params, 'parameter')}, {optimizer})"

    def replace(self, **changes: Any) -> TrainState:
        """Returns a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def network(self, student: Network) -> Network:
        """Returns the student with the variables of this state.

        They are copied, since a step reuses the memory of its state, and gathered onto this
        process's first device; all processes of a job call this together.

        Args:
          student: the student that was trained; its own variables are not used.

        Returns:
          The trained network.
        """
        params, state = jax.tree.map(
            _on_one_device, (self.params["student"], self.model_state["student"])
        )
        return student.replace(params=params, state=state)


def create_state(
    student: Network,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    seed: int = 0,
) -> TrainState:
    """Creates the state before the first step, on one device.

    This is what `TrainStep.init` and `Population.init` are made of; programs call those. The
    network's arrays are copied, since a train step gives its state's memory away.

    Args:
      student: the student, with its initial variables.
      objective: its connectors train beside the student.
      optimizer: an optax transformation.
      seed: seed of the root key, for dropout and the like.

    Returns:
      The state at step 0.
    """
    params, model_state = jax.tree.map(jnp.array, initial_variables(student, objective))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        # Some optimizers keep the parameters themselves, and memory can be given away once.
        opt_state=jax.tree.map(jnp.copy, optimizer.init(params)),
        key=jax.random.key(seed),
    )


def initial_variables(student: Network, objective: Objective) -> Variables:
    """Returns parameters and model state of a student and the objective's connectors.

    Args:
      student: the student.
      objective: holder of the connectors.

    Returns:
      The trees that `TrainState.params` and `TrainState.model_state` begin as; nothing is copied.
    """
    connector_params, connector_state = objective.connectors()
    return (
        {"student": student.params, "connectors": connector_params},
        {"student": student.state, "connectors": connector_state},
    )


def _on_one_device(leaf: jax.Array) -> jax.Array:
    """Copies an array onto one device."""
    if len(leaf.sharding.device_set) == 1:
        return jnp.copy(leaf)
    if not leaf.is_fully_addressable:
        return jnp.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return jnp.asarray(np.asarray(leaf))
