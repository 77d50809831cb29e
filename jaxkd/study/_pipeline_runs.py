"""The runs of pipelines, which share their beginnings with each other and with other arms."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd.networks import Network
from jaxkd.networks._architecture import describe, describe_code
from jaxkd.study._arm_runs import ArmRuns, document_of
from jaxkd.study._costs import forward_flops
from jaxkd.study._stage_training import (
    Batches,
    calibration_batches,
    folded,
    stage_steps,
    stage_training,
    with_variables,
)
from jaxkd.study.arms import as_arm
from jaxkd.study.pipelines import Pipeline
from jaxkd.study.runner import file_name, named_folder
from jaxkd.study.stages import FINAL
from jaxkd.training import is_main_process, sync_processes

if TYPE_CHECKING:
    from jaxkd.study.arms import Arm, ArmTraining
    from jaxkd.study.study import Study

FOLDER = "stages"
"""Folder of the beginnings of pipelines that are no arms of the study."""


class PipelineRuns(ArmRuns):
    """The runs of the last stage of a pipeline, each from the student of the stage before.

    Args:
      study: what all arms share.
      arm: the pipeline.
      before: the runs of the stage before.
      batches: returns inputs, for shapes and for ranges of activations.
      progress: whether to show progress bars.
      folder: folder of the runs; by default one of the arm's name.
    """

    def __init__(
        self,
        study: Study,
        arm: Pipeline,
        before: ArmRuns,
        batches: Batches,
        progress: bool = True,
        folder: pathlib.Path | None = None,
    ):
        self._pipeline, self._before, self._batches = arm, before, batches
        self._structures: dict[int, Network] = {}
        super().__init__(study, arm, progress, folder)
        # What a stage cannot go on from, or cannot deploy, is refused before anything is trained.
        seed = study.seeds[0]
        with_variables(before.start(seed), before.structure(seed))
        self.start(seed)

    def training(self, seed: int) -> ArmTraining:
        """Makes the training of a seed, from the student that the stage before has trained."""
        return self._training(seed, self._before.plain(seed))

    def untrained(self, seed: int) -> ArmTraining:
        """Makes the same training of a student that nothing has trained."""
        return self._training(seed, self._before.start(seed))

    def structure(self, seed: int) -> Network:
        """Returns a student as it is deployed; those of all seeds differ in variables alone."""
        return self.start(self._study.seeds[0])

    def start(self, seed: int) -> Network:
        """Returns the student of a seed that the next stage goes on from, before it is trained."""
        if seed not in self._structures:
            training = self.untrained(seed)
            self._structures[seed] = training.deploy(training.student)
        return self._structures[seed]

    def keep(self, seed: int, network: Network, curve: Any, seconds: float) -> dict[str, Any]:
        """Saves a trained student, with the learning curve and the seconds of all its stages."""
        before = self._before.result(seed)
        steps, values = curve
        steps = np.concatenate([before["curve_steps"], self._before.steps + steps])
        values = np.concatenate([before["curve"], values])
        return super().keep(seed, network, (steps, values), float(before["seconds"]) + seconds)

    @functools.cached_property
    def flops(self) -> float:
        """FLOPs of the forward pass of a student for one example, without those of rounding."""
        if self._pipeline.last.kind not in FINAL:
            return super().flops
        floating = folded(self._before.start(self._study.seeds[0]), self._batches)
        return forward_flops(floating, self._study.inputs)

    def _training(self, seed: int, start: Network) -> ArmTraining:
        return stage_training(self._study, self._pipeline, seed, start, self._batches)

    def _count_steps(self) -> int:
        return self._before.steps + stage_steps(self._study, self._pipeline)


def runs_of(study: Study, progress: bool) -> dict[str, ArmRuns]:
    """Makes the runs of all arms of a study, by name."""
    batches = functools.cache(lambda: calibration_batches(study))
    arms = {_identity(study, arm): arm for arm in reversed(study.arms)}
    made: dict[str, ArmRuns] = {}
    beginnings: dict[str, ArmRuns] = {}

    def of_arm(arm: Arm) -> ArmRuns:
        if arm.name not in made:
            _take_over(study, arm)
            made[arm.name] = make(arm, None)
        return made[arm.name]

    def of_beginning(arm: Arm) -> ArmRuns:
        key = _identity(study, arm)
        if key in arms:
            return of_arm(arms[key])
        if key not in beginnings:
            name = named_folder(arm.name, _content(study, arm))
            # What no text tells apart, such as two caches, has folders in the order of the arms.
            count = sum(runs.folder.name.startswith(name) for runs in beginnings.values())
            folder = study.workdir / FOLDER / (f"{name}_{count}" if count else name)
            beginnings[key] = make(arm, folder)
        return beginnings[key]

    def make(arm: Arm, folder: pathlib.Path | None) -> ArmRuns:
        if not isinstance(arm, Pipeline):
            return ArmRuns(study, arm, progress, folder)
        return PipelineRuns(study, arm, of_beginning(arm.before), batches, progress, folder)

    return {arm.name: of_arm(arm) for arm in study.arms}


def _take_over(study: Study, arm: Arm) -> None:
    """Makes the folder of a pipeline's beginning that of an arm which joins the study later."""
    folder = study.workdir / file_name(arm.name)
    known = sorted((study.workdir / FOLDER).glob(f"*_{_content(study, arm)}"))
    if known and not folder.exists() and is_main_process():
        known[0].rename(folder)
    sync_processes(str(folder))


def _identity(study: Study, arm: Arm) -> str:
    """Returns what arms of the same runs have in common: the very same objects, and numbers."""
    parts = [[i.method, i.options, i.data, i.teacher, i.online] for i in _inside(arm)]
    given = [document_of(study, arm), _known_by(parts), _known_by(_stage_options(arm))]
    return json.dumps(given, sort_keys=True)


def _content(study: Study, arm: Arm) -> str:
    """Returns what an arm is made of, as a part of a name that every process gives it."""
    parts = [_described({"method": i.method, **i.options}) for i in _inside(arm)]
    parts += map(_described, _stage_options(arm))
    text = json.dumps([document_of(study, arm), parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _inside(arm: Arm) -> list[Arm]:
    """Returns the arms that train a pipeline's student, or the arm itself."""
    if not isinstance(arm, Pipeline):
        return [arm]
    return [arm.first, *(as_arm(s.method) for s in arm.stages if s.method is not None)]


def _stage_options(arm: Arm) -> list[Mapping[str, Any]]:
    """Returns the options of a pipeline's stages, none of an arm without."""
    return [stage.options for stage in arm.stages] if isinstance(arm, Pipeline) else []


def _known_by(value: Any) -> Any:
    """Returns plain data as they are, and numbers of other objects, within one process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_known_by(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _known_by(each) for name, each in value.items()}
    return id(value)


def _described(value: Any) -> str:
    """Returns a text of what an option or a method is."""
    if isinstance(value, Network):
        return json.dumps(value.fingerprint())
    if isinstance(value, Mapping):
        return json.dumps({str(name): _described(each) for name, each in sorted(value.items())})
    return describe_code(value) if callable(value) else describe(value)
