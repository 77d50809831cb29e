"""Well-known sequences of phases."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import optax
from flax import nnx

from jaxkd import connectors, losses, recipes
from jaxkd.networks import Network
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.strategies._phases import Phase


def chain(
    teacher: Network,
    students: Mapping[str, Network],
    objective: Objective,
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> list[Phase]:
    """Teacher assistants: each network is taught by the one before, the last one is the student.

    Helps where the teacher is so much larger that the student cannot follow it; each link costs a
    training.

    Args:
      teacher: of the first.
      students: name → network, from the largest assistant to the student.
      objective: of each phase, `recipes.kd()` for one.
      steps: of each phase.
      optimizer: of each phase.

    Returns:
      Phases for `run_phases`.

    Raises:
      ValueError: no student.

    Example:
      >>> from jaxkd import from_function, recipes
      >>> networks = [from_function(lambda w, x: x @ w, jnp.eye(3)) for _ in range(3)]
      >>> phases = chain(networks[0], {"assistant": networks[1], "student": networks[2]},
      ...                recipes.kd(), steps=100, optimizer=optax.adam(1e-3))
      >>> [phase.name for phase in phases], phases[1].teacher
      (['assistant', 'student'], 'previous')

    Reference:
      Mirzadeh et al., Improved Knowledge Distillation via Teacher Assistant, AAAI 2020.
    """
    if not students:
        raise ValueError("a chain needs at least one student")
    return [
        Phase(name, objective, steps, optimizer, "previous" if index else teacher, network)
        for index, (name, network) in enumerate(students.items())
    ]


def born_again(
    teacher: Network,
    make_student: Callable[[int], Network],
    generations: int,
    objective: Objective,
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> list[Phase]:
    """Born-again networks: each generation starts anew and is taught by the one before.

    Helps without a larger network: the second generation is often better than its equal teacher,
    later ones gain little; `join` of all generations gains more.

    Args:
      teacher: of the first generation; in the original trained on labels, of the same architecture.
      make_student: from the generation's number (1, 2, …), a seed for one, to a fresh network.
      generations: how many.
      objective: of each, such as `recipes.kd()`.
      steps: of each.
      optimizer: of each.

    Returns:
      Phases `generation1`, `generation2`, … for `run_phases`.

    Raises:
      ValueError: fewer than one generation.

    Reference:
      Furlanello et al., Born-Again Neural Networks, ICML 2018.
    """
    students = {f"generation{n}": make_student(n) for n in range(1, generations + 1)}
    return chain(teacher, students, objective, steps=steps, optimizer=optimizer)


def progressive(
    teachers: Sequence[Network],
    objective: Objective,
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> list[Phase]:
    """Route-constrained distillation: one student follows the teacher's own way of learning.

    The student goes on from phase to phase, its teachers are checkpoints of one teacher, early to
    late. An early one is easier to imitate than the final one. Helps small students of large
    teachers whose checkpoints were kept.

    Args:
      teachers: networks with the variables of successive checkpoints.
      objective: of each phase.
      steps: of each phase.
      optimizer: of each phase.

    Returns:
      Phases `anchor1`, `anchor2`, … for `run_phases(…, student=…)`.

    Reference:
      Jin et al., Knowledge Distillation via Route Constrained Optimization, ICCV 2019.
    """
    return [
        Phase(f"anchor{number}", objective, steps, optimizer, teacher)
        for number, teacher in enumerate(teachers, 1)
    ]


def early_stopped(
    stop_step: int, *, alpha: float = 0.9, temperature: float | Schedule = 4.0
) -> Objective:
    """Distillation that ends early: from a step on the labels alone are learned.

    Helps where a large teacher helps at first and holds a small student back in the end. An online
    teacher goes on running; two phases would spare it but start the optimizer anew.

    Args:
      stop_step: the first step without the teacher.
      alpha: weight of the teacher before.
      temperature: as in `recipes.kd`.

    Returns:
      An objective with the terms `label` and `kd`.

    Raises:
      ValueError: a step before the first one, alpha outside of [0, 1].

    Example:
      >>> weight = early_stopped(100, alpha=0.9).terms["kd"].weight
      >>> [f"{float(weight(step)):.1f}" for step in (0, 99, 100)]
      ['0.9', '0.9', '0.0']

    Reference:
      Cho and Hariharan, On the Efficacy of Knowledge Distillation, ICCV 2019.
    """
    if stop_step < 1:
        raise ValueError(f"stop_step must be at least 1, not {stop_step}: use recipes.labels")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], not {alpha}")
    return recipes.kd(
        alpha=lambda step: jnp.where(step < stop_step, alpha, 0.0), temperature=temperature
    )


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
    """FitNets: lower layers learn the teacher's features first, then the student its logits.

    Helps thin and deep students, which end-to-end training starts badly. In a hint phase no
    gradient reaches the layers behind the stage; weight decay would, so give an optimizer without.

    Args:
      pair: the networks; the first phase starts from its student.
      objective: of the last phase, such as `recipes.kd()`.
      hint_steps: of each hint phase.
      steps: of the last one.
      optimizer: of all.
      stages: positions among `pair.stages()`, one phase each in this order; by default the middle
        one alone.
      seed: of the regressors' initial weights.

    Returns:
      Phases `hint1`, `hint2`, … and `distil`, for `run_phases`.

    Raises:
      ValueError: a stage that there is not.

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
        Phase(name, wanted, length, optimizer, pair.teacher, None if index else pair.student)
        for index, (name, (wanted, length)) in enumerate(objectives.items())
    ]
