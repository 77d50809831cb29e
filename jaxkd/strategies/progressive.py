"""Route-constrained distillation: a student of a teacher's successive checkpoints."""

from collections.abc import Sequence

import optax

from jaxkd.networks import Network
from jaxkd.objective import Objective
from jaxkd.strategies.phases import Phase


def progressive(
    teachers: Sequence[Network],
    objective: Objective,
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> list[Phase]:
    """Makes phases in which one student learns from successive checkpoints of its teacher.

    The student is trained on from phase to phase; its teachers are checkpoints of one training,
    early to late. An early one is easier to imitate than the final one. It helps small students of
    large teachers whose checkpoints were kept.

    Args:
      teachers: networks with the variables of successive checkpoints.
      objective: objective of each phase.
      steps: number of steps of each phase.
      optimizer: optimizer of each phase.

    Returns:
      Phases `anchor1`, `anchor2`, … for `run_phases(…, student=…)`.

    Raises:
      ValueError: no teacher.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, recipes
      >>> linear = lambda params, inputs: inputs @ params
      >>> checkpoints = [from_function(linear, jnp.full((4, 3), scale)) for scale in (0.5, 1.0)]
      >>> phases = progressive(checkpoints, recipes.kd(), steps=100, optimizer=optax.sgd(0.1))
      >>> [phase.name for phase in phases]
      ['anchor1', 'anchor2']

    Reference:
      Jin et al., Knowledge Distillation via Route Constrained Optimization, ICCV 2019.
    """
    if not teachers:
        raise ValueError("progressive needs at least one teacher")
    return [
        Phase(f"anchor{number}", objective, steps, optimizer, teacher)
        for number, teacher in enumerate(teachers, 1)
    ]
