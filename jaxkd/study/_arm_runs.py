"""The runs of an arm of a study: its folder is bound to the arm, and its budget may be a time."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import time
from typing import TYPE_CHECKING, Any

import jax

from jaxkd._files import read_json, write_atomically
from jaxkd.networks import Network
from jaxkd.networks._architecture import describe
from jaxkd.study._costs import costs_of, forward_flops
from jaxkd.study._made_of import check_arm
from jaxkd.study._runs import Runs
from jaxkd.study._stage_training import stage_rate, stage_steps, with_variables
from jaxkd.study._teacher_caches import fingerprint_of
from jaxkd.study.arms import LABELS
from jaxkd.study.pipelines import Pipeline
from jaxkd.study.runner import file_name
from jaxkd.training import bind_config, is_main_process, sync_processes

if TYPE_CHECKING:
    from jaxkd.study.arms import Arm, ArmTraining
    from jaxkd.study.study import Study

_TIMED_STEPS = 10


class ArmRuns(Runs):
    """The runs of an arm of a study.

    Args:
      study: what all arms share.
      arm: the arm.
      progress: whether to show progress bars.
      folder: folder of the runs; by default one of the arm's name.

    Attributes:
      arm: the arm.
      steps: number of updates of a student.
    """

    def __init__(
        self,
        study: Study,
        arm: Arm,
        progress: bool = True,
        folder: pathlib.Path | None = None,
    ):
        folder = study.workdir / file_name(arm.name) if folder is None else folder
        super().__init__(study, folder, arm.name, self.training, progress)
        self.arm, self._study = arm, study
        bind_config(folder, document_of(study, arm))
        self.steps = self._count_steps()
        check_arm(self, study.seeds[0])

    def training(self, seed: int) -> ArmTraining:
        """Makes the training of a seed, of as many steps as the arm has."""
        return self.arm.training(self._study, seed)

    def untrained(self, seed: int) -> ArmTraining:
        """Makes the same training as far as it is known before anything is trained."""
        return self.training(seed)

    def start(self, seed: int) -> Network:
        """Returns the student of a seed that a pipeline goes on from, before it is trained."""
        return self._study.make_student(seed)

    def plain(self, seed: int) -> Network:
        """Returns that student as the arm has trained it."""
        self.result(seed)
        return with_variables(self.start(seed), self.network(seed))

    def keep(self, seed: int, network: Network, curve: Any, seconds: float) -> dict[str, Any]:
        """Saves a trained student, and returns what is kept of its run, with its costs."""
        kept = super().keep(seed, network, curve, seconds)
        return {**kept, **costs_of(network, self.flops)}

    @functools.cached_property
    def flops(self) -> float:
        """FLOPs of the forward pass of a student of the arm, for one example."""
        return forward_flops(self.structure(self._study.seeds[0]), self._study.inputs)

    def _count_steps(self) -> int:
        """Returns the number of updates, measured where the study's budget is a time."""
        if not self._study.steps and self.arm.steps is None:
            self._study = _of_steps(self._study, self._steps_in_time())
        return self.arm.steps or self._study.steps

    def _steps_in_time(self) -> int:
        """Returns the number of steps that fit into the study's seconds, measured once."""
        file = self.folder / "budget.json"
        if not file.exists():
            seconds = self._seconds_a_step()
            assert self._study.seconds is not None
            steps = max(1, int(self._study.seconds / seconds))
            if is_main_process():
                write_atomically(file, json.dumps({"seconds_a_step": seconds, "steps": steps}))
        sync_processes(str(file))
        return int(read_json(file)["steps"])

    def _seconds_a_step(self) -> float:
        """Measures a step behind its compilation, with the reading of its batch."""
        rehearsal = _of_steps(self._study, 1000)
        training = self.arm.training(rehearsal, self._study.seeds[0])
        if training.phases:
            raise ValueError(
                f"the arm {self.arm.name!r} trains in phases, whose steps do not follow from "
                "seconds: write steps= or epochs="
            )
        step = self.make_step(training)
        with self.loader(training, 0) as loader:
            state, _ = step(step.init(0), loader[0])
            jax.block_until_ready(state.params)
            started = time.perf_counter()
            for number in range(1, 1 + _TIMED_STEPS):
                state, _ = step(state, loader[number])
            jax.block_until_ready(state.params)
        return (time.perf_counter() - started) / _TIMED_STEPS


def _of_steps(study: Study, steps: int) -> Study:
    """Returns a study of a time as one of steps. It keeps the time, which decides on caches."""
    known = study.replace(steps=steps)
    known.seconds = study.seconds
    return known


def document_of(study: Study, arm: Arm) -> dict[str, Any]:
    """Returns what the runs of an arm depend on, as plain data."""
    if isinstance(arm, Pipeline):
        return {"before": document_of(study, arm.before), **_document_of_stage(study, arm)}
    teacher = study.fingerprints["teacher"]
    if arm.teacher is not None:
        teacher = fingerprint_of(arm.teacher)
    if arm.recipe is not None and arm.recipe.name == LABELS:
        teacher = None
    return {
        **arm.document(),
        "data": {"name": arm.data, "train": study.fingerprints["train"]},
        "teacher": teacher,
        "student": study.fingerprints["student"],
        "steps": arm.steps or study.steps or f"{study.seconds:g} seconds",
        "batch_size": study.batch_size,
        "learning_rate": study.learning_rate,
        "views": study.views.specification(),
        "num_views": study.num_views,
        "measured_on": study.part,
        "evaluations": study.evaluations,
        "loader_options": describe(study.loader_options),
    }


def _document_of_stage(study: Study, pipeline: Pipeline) -> dict[str, Any]:
    """What the last stage of a pipeline depends on, besides what comes before it."""
    stage, steps = pipeline.last, stage_steps(study, pipeline)
    document = {"kind": stage.kind, **{n: describe(v) for n, v in stage.options.items()}}
    if not steps:
        return document
    arm = dataclasses.replace(pipeline.trained_by, steps=steps)
    trained_by = {**document_of(study, arm), "learning_rate": stage_rate(study, stage)}
    return {**document, "sparsity": pipeline.sparsities[1], "trained_by": trained_by}
