"""Students of a study that train together: seeds of an arm, and arms that differ in numbers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxkd import recipes
from jaxkd._files import read_json, write_atomically
from jaxkd.objective import Objective
from jaxkd.study._arm_runs import ArmRuns
from jaxkd.study._diverged import has_diverged, record_divergence
from jaxkd.study._runs import has_tensorboard
from jaxkd.study._study_arguments import has_convolutions
from jaxkd.study.runner import Training, saved, train
from jaxkd.training import (
    Population,
    TrainState,
    is_main_process,
    make_mesh,
    sync_processes,
)

if TYPE_CHECKING:
    from jaxkd.study.study import Study

_FOLDER = "together"
Member = tuple[str, int]


def train_together(
    study: Study, runs: Mapping[str, ArmRuns], progress: bool, *, keep_diverged: bool = False
) -> None:
    """Trains the students that may train together, as far as they are not trained yet.

    Args:
      study: the study.
      runs: its arms by name.
      progress: whether to show progress bars.
      keep_diverged: whether students that diverge are recorded, in place of the end of all.

    Raises:
      FloatingPointError: students diverged; those that trained together with them are saved.
    """
    together = functools.partial(_train, study, keep_diverged=keep_diverged)
    unfinished = {
        (name, seed)
        for name, run in runs.items()
        for seed in study.seeds
        if not run.is_finished(seed) and not has_diverged(run, seed)
    }
    # A population that was killed is taken up with the members that it had.
    for file in sorted((study.workdir / _FOLDER).glob("*/members.json")):
        members = [(name, seed) for name, seed in read_json(file)]
        if unfinished & set(members) and all(name in runs for name, _ in members):
            together(file.parent, members, runs, progress)
            unfinished -= set(members)
    if study.population is False or not _fits_devices(study):
        return
    # Those of a seed see the same batches whatever the arm, which one that trains alone would not.
    if study.population is None and any(_key(run) is None for run in runs.values()):
        return
    groups: dict[Any, list[Member]] = {}
    for name, seed in sorted(unfinished, key=lambda m: (list(runs).index(m[0]), m[1])):
        key = _key(runs[name])
        if key is not None:
            groups.setdefault(key, []).append((name, seed))
    groups = {key: members for key, members in groups.items() if len(members) > 1}
    if study.population is None and groups:
        student = study.make_student(study.seeds[0])
        groups = {} if has_convolutions(student, study.inputs) else groups
    for members in _parts(groups.values(), study.population):
        text = json.dumps(members)
        folder = study.workdir / _FOLDER / hashlib.sha256(text.encode()).hexdigest()[:12]
        if is_main_process():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "members.json", text)
        sync_processes(str(folder))
        together(folder, members, runs, progress)


def _fits_devices(study: Study) -> bool:
    """Whether students may train together on the devices: on several, where that was asked for."""
    several = study.runtime.partitioning is not None
    return not several or (study.population is not None and jax.process_count() == 1)


def _parts(groups: Iterable[list[Member]], most: int | None) -> list[list[Member]]:
    """Divides groups into those of at most so many members; one that is left over trains alone."""
    parts: list[list[Member]] = []
    for members in groups:
        size = len(members) if most is None or most is True else most
        parts += [members[start : start + size] for start in range(0, len(members), size)]
    return [part for part in parts if len(part) > 1]


def _mesh(study: Study, count: int) -> Mesh | None:
    """Returns as many of the devices as share the students evenly; None for a single one."""
    if study.runtime.partitioning is None:
        return None
    devices = [*study.runtime.partitioning.mesh.devices.flat]
    most = max(n for n in range(1, len(devices) + 1) if count % n == 0)
    return make_mesh(devices=devices[:most]) if most > 1 else None


def _key(runs: ArmRuns) -> Any:
    """What arms of one population have in common; None where an arm trains alone."""
    arm = runs.arm
    recipe = arm.recipe
    if recipe is None or recipe.needs_pair or recipe.prepare or recipe.optimizer:
        return None
    numbers = _numbers(arm.options)
    others = {name: value for name, value in arm.options.items() if name not in numbers}
    shared = (arm.data, id(arm.teacher), arm.online, runs.steps)
    return recipe.name, repr(sorted(others.items())), tuple(sorted(numbers)), shared


def _numbers(options: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in options.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


@dataclasses.dataclass(frozen=True)
class _MakeObjective:
    """Makes the objective of a recipe of a member's numbers."""

    recipe: Any
    options: Mapping[str, Any]
    steps: int
    names: tuple[str, ...]

    def __call__(self, **numbers: Any) -> Objective:
        options = {**self.options, **{name: numbers[name] for name in self.names}}
        return recipes.create(self.recipe, steps=self.steps, **options).objective


def _train(
    study: Study,
    folder: pathlib.Path,
    members: list[Member],
    runs: Mapping[str, ArmRuns],
    progress: bool,
    *,
    keep_diverged: bool,
) -> None:
    """Trains a population, and keeps what each member gave as that of its own run."""
    first, seed = runs[members[0][0]], members[0][1]
    arm, training = first.arm, first.training(seed)
    numbers = [_numbers(runs[name].arm.options) for name, _ in members]
    names = tuple(numbers[0])
    values = {name: [each[name] for each in numbers] for name in names}
    population = Population(
        study.make_student,
        _MakeObjective(arm.recipe, arm.options, training.steps, names),
        training.optimizer,
        {**values, "seed": [member_seed for _, member_seed in members]},
        views=training.views,
        teacher=training.teacher,
        mesh=_mesh(study, len(members)),
    )
    evaluator = study.evaluator(study.part)

    def evaluate(state: TrainState) -> dict[str, np.ndarray]:
        scores = [evaluator.scores(population.network(state, i)) for i in range(len(members))]
        return {name: np.array([each[name] for each in scores]) for name in scores[0]}

    together = Training(
        workdir=folder,
        step=population.step,
        state=population.init(),
        # Of the study's first seed, so that all populations of a study see the same batches.
        loader=first.loader(training, study.seeds[0]),
        steps=training.steps,
        evaluate=evaluate,
        logs_per_evaluation=20 // study.evaluations,
        steps_per_call=study.steps_per_call,
        tensorboard=has_tensorboard(),
        progress=f"{len(members)} students together" if progress else "",
    )
    try:
        trained = train(together, study.runtime)
    except FloatingPointError as error:  # that all of them diverged
        if not keep_diverged:
            raise
        for name, member_seed in members:
            record_divergence(runs[name], member_seed, error)
        return
    metric = study.metric_name
    # What ends a training of one student: see `jaxkd.training.fit`.
    finite = np.array(population.step.finite(trained.state.params))
    for row in trained.logged:
        finite[int(row["member"])] &= math.isfinite(row["loss"])
    diverged = []
    for index, (name, member_seed) in enumerate(members):
        if not finite[index]:
            diverged.append(f"{name}, seed {member_seed}")
            if keep_diverged:
                record_divergence(runs[name], member_seed, "loss or parameters are not finite")
            continue
        rows = [row for row in trained.rows if row["member"] == index]
        steps = np.array([int(row["step"]) for row in rows])
        curve = steps, np.array([float(row[metric]) for row in rows])
        network = population.network(trained.state, index)
        run, seconds = runs[name], trained.seconds / len(members)
        keep = functools.partial(run.keep, member_seed, network, curve, seconds)
        saved(run.seed_folder(member_seed) / "result.npz", keep)
    if diverged and not keep_diverged:
        raise FloatingPointError(
            f"loss or parameters are not finite of {'; '.join(diverged)}. The students that "
            "trained together with them are saved; write other numbers for these arms, or give "
            "the study a smaller learning_rate="
        )
