"""FitNets in stages: hints before logits."""

from collections.abc import Sequence

import optax
from flax import nnx

from jaxkd import connectors, losses, recipes
from jaxkd.objective import Objective, Term
from jaxkd.strategies.phases import Phase


def stage_wise(
    pair: recipes.Pair,
    objective: Objective,
    *,
    hint_steps: int,
    steps: int,
    optimizer: optax.GradientTransformation,
    stages: Sequence[int] | None = None,
    seed: int = 0,
) -> list[Phase]:
    """Makes phases in which lower layers learn the teacher's features, then the student its logits.

    It helps thin and deep students, which end-to-end training starts badly. In a hint phase no
    gradient reaches the layers after the stage; weight decay would, so give an optimizer without.

    Args:
      pair: the student and its teacher; the first phase starts from its student.
      objective: objective of the last phase, such as `recipes.kd()`.
      hint_steps: number of steps of each hint phase.
      steps: number of steps of the last phase.
      optimizer: optimizer of all phases.
      stages: positions among `pair.stages()`, one phase each in this order; None for the middle one
        alone.
      seed: seed of the initial weights of the regressors.

    Returns:
      Phases `hint1`, `hint2`, … and `distil`, for `run_phases`.

    Raises:
      ValueError: a stage that does not exist.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = recipes.Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> adam = optax.adam(1e-3)
      >>> phases = stage_wise(
      ...     pair, recipes.kd(), hint_steps=50, steps=200, optimizer=adam, stages=[0, 1])
      >>> [(phase.name, phase.steps) for phase in phases]
      [('hint1', 50), ('hint2', 50), ('distil', 200)]

    Reference:
      Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015.
    """
    matched = pair.stages()
    chosen = [len(matched) // 2] if stages is None else list(stages)
    if wrong := [stage for stage in chosen if not 0 <= stage < len(matched)]:
        raise ValueError(f"there are {len(matched)} matched stages, from 0 on; got {wrong}")
    rngs = nnx.Rngs(seed)
    objectives: dict[str, tuple[Objective, int]] = {}
    for number, stage in enumerate(chosen, 1):
        student, teacher = matched[stage]
        widths = pair.width("student", student), pair.width("teacher", teacher)
        regressor = connectors.Conv1x1(*widths, norm=True, rngs=rngs)
        hint = Term(losses.feature_mse, 1.0, None, student, teacher, regressor)
        objectives[f"hint{number}"] = Objective(hint=hint), hint_steps
    objectives["distil"] = objective, steps
    return [
        Phase(name, minimized, length, optimizer, pair.teacher, None if index else pair.student)
        for index, (name, (minimized, length)) in enumerate(objectives.items())
    ]
