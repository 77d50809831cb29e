"""The states of several students as one, every array with the students as its first axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxkd.training._arrays import describe_arrays, differences
from jaxkd.training.partitioning import Partitioning
from jaxkd.training.state import TrainState

# The students' axis in each field of a state; the step's number is the same for all.
AXES: Any = TrainState(step=None, params=0, model_state=0, opt_state=0, key=0)  # type: ignore[arg-type]


def stack(states: Sequence[TrainState]) -> TrainState:
    """Stacks the states of several students into one.

    Args:
      states: states at the same step, traced, on a device or on the host.

    Returns:
      The state, traced or placed as the given ones.

    Raises:
      ValueError: their arrays differ in more than values; names the two students.
    """
    for index, state in enumerate(states):
        _check_same(states[0], state, index)

    def one(*leaves: Any) -> Any:
        return np.stack(leaves) if isinstance(leaves[0], np.ndarray) else jnp.stack(leaves)

    return jax.tree.map(one, *states).replace(step=states[0].step)


def member_of(state: TrainState, index: Any) -> TrainState:
    """Returns one student's part of a state, the reverse of `stack`."""
    step = state.step
    return jax.tree.map(lambda leaf: leaf[index], state.replace(step=())).replace(step=step)


def on_host(leaf: jax.Array) -> Any:
    """Moves an array to the host, whose memory is larger; PRNG keys, which are small, stay."""
    return leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def partition_members(mesh: Mesh, members: int) -> Partitioning:
    """Spreads members over all devices of a mesh.

    Args:
      mesh: the mesh.
      members: number of members.

    Returns:
      A partitioning in which each device has its members, the whole batch and the teacher.

    Raises:
      ValueError: the members do not divide by the devices.
    """
    if members % mesh.size:
        raise ValueError(
            f"{members} members cannot be spread evenly over {mesh.size} devices: make it "
            f"{-(-members // mesh.size) * mesh.size} members, with more seeds for instance, or "
            "give fewer devices to make_mesh"
        )
    spread = P(tuple(mesh.axis_names))
    rules = (("^(params|model_state|opt_state|key|members)", spread), ("", P()))
    return Partitioning(mesh, rules, batch=P())


def _check_same(first: TrainState, other: TrainState, index: int) -> None:
    """Refuses states whose arrays differ in more than values."""
    described = describe_arrays(first), describe_arrays(other)
    if differing := differences(*described, "of member 0", f"of member {index}"):
        raise ValueError(
            f"members 0 and {index} differ in more than the values of their variables "
            f"({differing}): student, connectors and optimizer must have the same arrays whatever "
            "the numbers"
        )
