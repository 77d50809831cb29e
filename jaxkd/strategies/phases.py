"""Trainings one after the other, each resumable, each from the result of the last."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from jaxkd._files import local_path
from jaxkd.networks import Network
from jaxkd.objective import Objective
from jaxkd.training import TrainState, TrainStep, fit, make_train_step
from jaxkd.training._streams import Batches


@dataclasses.dataclass(frozen=True)
class Phase:
    """One training among several.

    Attributes:
      name: name of its student and of its directory.
      objective: what is minimized; connectors start anew in every phase, and schedules at step 0.
      steps: number of updates.
      optimizer: optimizer, which starts anew as well.
      teacher: online teacher; `"previous"` is the student of the phase before, any other text that
        of the phase of this name. None where no term compares with one or the batches contain its
        outputs.
      student: network to start from; None for the student of the phase before.
      batches: batches of this phase; None for those of `run_phases`. A function is called with the
        phase's teacher and returns batches that contain its outputs; it then does not run online:
        `lambda teacher: Loader(data, views, 256, cache=cache.build(path, teacher, data, views))`.

    Raises:
      ValueError: a name that cannot be one of a directory, fewer than one step.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, recipes
      >>> linear = lambda params, inputs: inputs @ params
      >>> student, teacher = (from_function(linear, jnp.ones((4, 3))) for _ in range(2))
      >>> warm = Phase("warm", recipes.labels(), 100, optax.sgd(0.1), student=student)
      >>> kd = Phase("kd", recipes.kd(), 900, optax.sgd(0.1), teacher=teacher)
      >>> [(phase.name, phase.steps) for phase in (warm, kd)]
      [('warm', 100), ('kd', 900)]
    """

    name: str
    objective: Objective
    steps: int
    optimizer: optax.GradientTransformation
    teacher: Network | str | None = None
    student: Network | None = None
    batches: Batches | Callable[[Network | None], Batches] | None = None

    def __post_init__(self):
        if not self.name or self.name in (".", "..", "previous") or "/" in self.name:
            raise ValueError(
                f"a phase is named like a directory, and not 'previous': got {self.name!r}"
            )
        if self.steps < 1:
            raise ValueError(f"phase {self.name!r} needs at least 1 step, not {self.steps}")


def run_phases(
    phases: Sequence[Phase],
    batches: Batches | None = None,
    *,
    student: Network | None = None,
    workdir: str | pathlib.Path | None = None,
    make_step: Callable[..., TrainStep] = make_train_step,
    evaluate: Callable[[Network], Mapping[str, Any]] | None = None,
    seed: int = 0,
    **options: Any,
) -> dict[str, Network]:
    """Runs phases in order: assistants, generations, successive teachers, hints before logits.

    Killed at any moment and called again with the same arguments it ends in the same parameters to
    the last bit: phases that are over are read from their last checkpoint. A phase's directory is
    bound to the student that it started from and to its teacher, so that one cannot go on from
    phases that have been changed since.

    Args:
      phases: in order. Each sees the batches from step 0 on; give one its own `Loader` with another
        seed for another order.
      batches: batches of the phases that have none of their own.
      student: network that the first phase starts from, unless it has one of its own.
      workdir: directory with one of its own for each phase; None keeps all in memory.
      make_step: called as `make_step(student, objective, optimizer, teacher=teacher)`: give
        what all phases share by `functools.partial(make_train_step, views=…, partitioning=…)`.
      evaluate: function from the student to numbers, as `evaluate` of `fit`.
      seed: seed of the first phase's root key; the next one's is larger by one.
      **options: options of `jaxkd.training.fit`, such as `log_every`, `checkpoint_every` or
        `progress`.

    Returns:
      The trained student of every phase, by name and in order; the last one is the result.

    Raises:
      ValueError: no phase, names that repeat, no student or no batches for a phase, a teacher that
        is the student of no earlier phase; all before anything runs. What `fit` raises, such as for
        the directory of a phase that started otherwise, before that phase runs.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function, recipes
      >>> make = lambda scale: from_function(lambda w, x: x @ w, scale * jnp.eye(3))
      >>> class Same:
      ...     def __getitem__(self, step):
      ...         return {"inputs": jnp.eye(3)}
      >>> adam = optax.adam(0.1)
      >>> first = Phase("assistant", recipes.kd(alpha=1.0), 50, adam, make(5.0), make(0.1))
      >>> second = Phase("student", recipes.kd(alpha=1.0), 50, adam, "assistant", make(0.0))
      >>> list(run_phases([first, second], Same(), progress=None))
      ['assistant', 'student']
    """
    phases = tuple(phases)
    _check(phases, batches, student)
    students: dict[str, Network] = {}
    for index, phase in enumerate(phases):
        start = student if phase.student is None else phase.student
        assert start is not None
        teacher = _teacher(phase, students)
        online, own = teacher, batches if phase.batches is None else phase.batches
        if callable(own):
            online, own = None, own(teacher)
        assert own is not None
        step = make_step(start, phase.objective, phase.optimizer, teacher=online)
        state = step.init(seed + index)
        settings = {"progress": phase.name, **options}
        if workdir is not None:
            settings["workdir"] = local_path(workdir) / phase.name
            bound = {"start": start.fingerprint()}
            if teacher is not None:
                bound["teacher"] = teacher.fingerprint()
            settings["config"] = {**options.get("config", {}), "phase": bound}
        if evaluate is not None:
            settings["evaluate"] = _of_network(evaluate, start)
        fitted = fit(step, state, own, steps=phase.steps, **settings)
        student = students[phase.name] = fitted.state.network(start)
    return students


def _of_network(
    evaluate: Callable[[Network], Mapping[str, Any]], network: Network
) -> Callable[[TrainState], Mapping[str, Any]]:
    return lambda state: evaluate(state.network(network))


def _teacher(phase: Phase, students: Mapping[str, Network]) -> Network | None:
    if not isinstance(phase.teacher, str):
        return phase.teacher
    return list(students.values())[-1] if phase.teacher == "previous" else students[phase.teacher]


def _check(phases: Sequence[Phase], batches: Any, student: Network | None) -> None:
    if not phases:
        raise ValueError("no phase to run")
    names = [phase.name for phase in phases]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"phases need names of their own; {repeated} repeat")
    if phases[0].student is None and student is None:
        raise ValueError(
            f"phase {names[0]!r} has no student to start from: give student= to it or to run_phases"
        )
    for index, phase in enumerate(phases):
        if phase.batches is None and batches is None:
            raise ValueError(
                f"phase {phase.name!r} has no batches: give batches to it or to run_phases"
            )
        earlier = names[:index]
        known = [*earlier, "previous"] if earlier else []
        if isinstance(phase.teacher, str) and phase.teacher not in known:
            raise ValueError(
                f"the teacher of phase {phase.name!r} is {phase.teacher!r}, the student of no "
                f"earlier phase: there are {earlier}"
            )
