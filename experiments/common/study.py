"""Ways of training one student, each with a run for every seed, measured by any evaluator.

A `jaxkd.study.Study` measures students by metrics of batches; this one by perplexity, generated
text or correlations, which the evaluator of an experiment computes.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import optax

from jaxkd import Network, Objective
from jaxkd.cache import Cache
from jaxkd.data import Examples
from jaxkd.study import ArmTraining
from jaxkd.study._runs import Runs
from jaxkd.study.evaluator import Evaluator
from jaxkd.study.runner import file_name
from jaxkd.study.runtime import Runtime
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What all arms have in common.

    Attributes:
      workdir: folder below which each run keeps its checkpoints, logs and result.
      make_student: function from a seed to an untrained student.
      test: held-out examples.
      views: how networks see training examples.
      test_views: how networks see held-out examples.
      num_views: number of different views of an example, None for new ones in every epoch.
      batch_size: number of examples in a batch of training.
      learning_rate: peak of a warmed-up cosine.
      seeds: one run of an arm for each.
      steps_per_call: see `jaxkd.training.fit`.
      evaluations: number of evaluations of a student during its training, 1 to 20.
      loader_options: further arguments of `jaxkd.data.Loader`.
      make_evaluator: what students are measured by, called with `test`, `test_views` and `runtime`.
      runtime: devices and tracing.
    """

    workdir: pathlib.Path
    make_student: Callable[[int], Network]
    test: Examples
    views: Views = dataclasses.field(default_factory=Views)
    test_views: Views = dataclasses.field(default_factory=Views)
    num_views: int | None = 1
    batch_size: int
    learning_rate: float
    seeds: tuple[int, ...]
    steps_per_call: int | None = None
    evaluations: int = 10
    loader_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    make_evaluator: Callable[[Examples, Views, Runtime], Evaluator] = Evaluator
    runtime: Runtime = dataclasses.field(default_factory=Runtime)

    part: ClassVar[str] = "test"

    @property
    def metric_name(self) -> str:
        """Name of the score that learning curves show."""
        return self.test_evaluator.metric

    @functools.cached_property
    def test_evaluator(self) -> Evaluator:
        """Measures networks on the test examples, and keeps their compiled programs."""
        return self.make_evaluator(self.test, self.test_views, self.runtime)

    def evaluator(self, part: str = "test") -> Evaluator:
        """Returns what measures networks on the test examples."""
        return self.test_evaluator


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training the student.

    Attributes:
      name: name for people, and for the folder of its runs.
      train: training examples, with the labels that the student may use.
      objective: what is minimized.
      steps: number of updates.
      teacher: network whose outputs are computed in every step; None where there is none or where
        its outputs are cached.
      cache: cached outputs of the teacher, if there are any.
      extend: function from an untrained student and its seed to the network that is trained.
      optimizer: None for the study's own.
      step_options: further arguments of `jaxkd.make_train_step`.
      deploy: function from the trained network to the part that is measured; None for all of it.
    """

    name: str
    train: Examples
    objective: Objective
    steps: int
    teacher: Network | None = None
    cache: Cache | None = None
    extend: Callable[[Network, int], Network] | None = None
    optimizer: optax.GradientTransformation | None = None
    step_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    deploy: Callable[[Network], Network] | None = None

    def training(self, study: Study, seed: int) -> ArmTraining:
        """Makes the training for a seed."""
        student = study.make_student(seed)
        student = self.extend(student, seed) if self.extend else student
        return ArmTraining(
            student=student,
            objective=self.objective,
            examples=self.train,
            steps=self.steps,
            optimizer=self.optimizer or adamw(study.learning_rate, self.steps),
            views=study.views,
            num_views=study.num_views,
            teacher=self.teacher,
            cache=self.cache,
            step_options=self.step_options,
            deploy=self.deploy or (lambda network: network),
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """What the runs of an arm gave.

    Attributes:
      arm: the arm.
      values: what the evaluator keeps of a trained student, by name, with an axis of seeds in
        front: `logits` `[seeds, examples, num_classes]` of a classifier.
      curve_steps: training steps of the evaluations `[points]`.
      curve: the evaluator's metric at them `[seeds, points]`.
      seconds: training time of each run; nan where a run was interrupted and resumed.
    """

    arm: Arm
    values: dict[str, np.ndarray]
    curve_steps: np.ndarray
    curve: np.ndarray
    seconds: np.ndarray


def adamw(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Makes AdamW under a cosine that warms up over the first twentieth of the steps."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, max(1, steps // 20), max(2, steps)
    )
    return optax.adamw(schedule, weight_decay=1e-4)


def run_arm(study: Study, arm: Arm, regime: str) -> Result:
    """Trains a student for each seed of a study, or reads what finished runs gave.

    Args:
      study: what all arms share.
      arm: one way of training.
      regime: name of the group of arms, and of the folder above theirs.

    Returns:
      What the runs gave, in the order of the seeds.

    Raises:
      ValueError: the work directory has results of another version of the experiments.
    """
    folder = study.workdir / file_name(regime) / file_name(arm.name)
    runs = Runs(study, folder, f"{regime}: {arm.name}", functools.partial(arm.training, study))
    results = [runs.result(seed) for seed in study.seeds]
    for seed, result in zip(study.seeds, results, strict=True):
        if not {"curve_steps", "curve", "seconds"} <= set(result):
            raise ValueError(
                f"{runs.seed_folder(seed) / 'result.npz'} was written by another version of this "
                f"experiment, with {sorted(result)}: delete {study.workdir}, or choose another "
                "--workdir"
            )
    values = {name: np.stack([each[name] for each in results]) for name in results[-1]}
    del values["curve_steps"]
    kept = {name: value for name, value in values.items() if not name.startswith("metric.")}
    return Result(
        arm=arm,
        curve_steps=results[0]["curve_steps"],
        curve=kept.pop("curve"),
        seconds=kept.pop("seconds"),
        values=kept,
    )
