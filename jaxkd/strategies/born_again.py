"""Born-again networks: generations of one architecture."""

from collections.abc import Callable

import optax

from jaxkd.networks import Network
from jaxkd.objective import Objective
from jaxkd.strategies.phases import Phase
from jaxkd.strategies.teacher_assistants import teacher_assistants


def born_again(
    teacher: Network,
    make_student: Callable[[int], Network],
    generations: int,
    objective: Objective,
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> list[Phase]:
    """Makes phases in which each generation starts anew and is taught by the one before.

    It helps without a larger network: the second generation is often better than its equal teacher,
    later ones gain little; a `joint_network` of all generations gains more. A teacher that knows
    less than the labels, one of few examples or few steps, passes that on: a ResNet-8 of 15 epochs
    of 10,000 images of clothes had 87.4 ± 0.3 % with one generation and 87.5 ± 0.7 % on labels
    (`benchmarks/methods_tuned.py`), three of eight epochs of 2,000 lost 7 points.

    Args:
      teacher: teacher of the first generation; in the original trained on labels, of the same
        architecture.
      make_student: function from the generation's number (1, 2, …), a seed for one, to a fresh
        network.
      generations: number of generations.
      objective: objective of each, such as `recipes.kd()`.
      steps: number of steps of each.
      optimizer: optimizer of each.

    Returns:
      Phases `generation1`, `generation2`, … for `run_phases`.

    Raises:
      ValueError: fewer than one generation.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, recipes
      >>> linear = lambda params, inputs: inputs @ params
      >>> make = lambda seed: from_function(linear, jnp.full((4, 3), float(seed)))
      >>> phases = born_again(make(0), make, 2, recipes.kd(), steps=100, optimizer=optax.sgd(0.1))
      >>> [(phase.name, phase.teacher == "previous" or phase.teacher) for phase in phases][1:]
      [('generation2', True)]

    Reference:
      Furlanello et al., Born-Again Neural Networks, ICML 2018.
    """
    if generations < 1:
        raise ValueError(f"generations must be at least 1, not {generations}")
    students = {f"generation{n}": make_student(n) for n in range(1, generations + 1)}
    return teacher_assistants(teacher, students, objective, steps=steps, optimizer=optimizer)
