"""Teacher assistants: networks of sizes in between, each taught by the one before."""

from collections.abc import Mapping

import optax

from jaxkd.networks import Network
from jaxkd.objective import Objective
from jaxkd.strategies.phases import Phase


def teacher_assistants(
    teacher: Network,
    students: Mapping[str, Network],
    objective: Objective,
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> list[Phase]:
    """Makes phases in which each network is taught by the one before, the last is the student.

    It helps where the teacher is so much larger that the student cannot follow it; each assistant
    costs a training.

    Args:
      teacher: teacher of the first network.
      students: name → network, from the largest assistant to the student.
      objective: objective of each phase, `recipes.kd()` for one.
      steps: number of steps of each phase.
      optimizer: optimizer of each phase.

    Returns:
      Phases for `run_phases`.

    Raises:
      ValueError: no student.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function, recipes
      >>> networks = [from_function(lambda w, x: x @ w, jnp.eye(3)) for _ in range(3)]
      >>> students = {"assistant": networks[1], "student": networks[2]}
      >>> phases = teacher_assistants(
      ...     networks[0], students, recipes.kd(), steps=100, optimizer=optax.adam(1e-3))
      >>> [phase.name for phase in phases], phases[1].teacher
      (['assistant', 'student'], 'previous')

    Reference:
      Mirzadeh et al., Improved Knowledge Distillation via Teacher Assistant, AAAI 2020.
    """
    if not students:
        raise ValueError("teacher_assistants needs at least one student")
    return [
        Phase(name, objective, steps, optimizer, "previous" if index else teacher, network)
        for index, (name, network) in enumerate(students.items())
    ]
