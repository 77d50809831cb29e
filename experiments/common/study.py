"""A study: several ways of training one student, each with a run for every seed."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

import jaxkd
from experiments.common.evaluation import Evaluator
from experiments.common.runner import Training, file_name, saved, timed, train
from experiments.common.runtime import Runtime
from jaxkd import Network, Objective
from jaxkd.cache import Cache
from jaxkd.data import Examples, Loader
from jaxkd.strategies import Phase, run_phases
from jaxkd.training import TrainStep
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
      probe: function that returns further arrays to keep of the first seed's trained student.
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
    probe: Callable[[Network], dict[str, np.ndarray]] | None = None
    runtime: Runtime = dataclasses.field(default_factory=Runtime)

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """Measures networks on the test examples, and keeps their compiled programs."""
        return self.make_evaluator(self.test, self.test_views, self.runtime)


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
      objective_of: function from a seed to the objective with connectors of that seed; None if the
        objective has no connectors.
      extend: function from an untrained student and its seed to the network that is trained.
      optimizer: None for the study's own.
      step_options: further arguments of `jaxkd.make_train_step`.
      views: how networks see training examples; None for the study's own.
      deploy: function from the trained network to the part that is measured; None for all of it.
      phases: function from an untrained student and its seed to trainings that follow each other,
        in place of the single one that objective, teacher and steps describe.
    """

    name: str
    train: Examples
    objective: Objective
    steps: int
    teacher: Network | None = None
    cache: Cache | None = None
    objective_of: Callable[[int], Objective] | None = None
    extend: Callable[[Network, int], Network] | None = None
    optimizer: optax.GradientTransformation | None = None
    step_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    views: Views | None = None
    deploy: Callable[[Network], Network] | None = None
    phases: Callable[[Network, int], Sequence[Phase]] | None = None


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
      probed: what the study's probe returned for the first seed's student.
    """

    arm: Arm
    values: dict[str, np.ndarray]
    curve_steps: np.ndarray
    curve: np.ndarray
    seconds: np.ndarray
    probed: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def logits(self) -> np.ndarray:
        """Logits on the held-out examples, `[seeds, examples, num_classes]`."""
        return self.values["logits"]

    def accuracies(self, labels: np.ndarray) -> np.ndarray:
        """Returns the accuracy of each seed on the held-out examples."""
        return np.array([jaxkd.metrics.accuracy(logits, labels) for logits in self.logits])


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
    runs = _ArmRuns(study, arm, regime)
    results = [
        saved(runs.folder(seed) / "result.npz", functools.partial(runs.result, seed))
        for seed in study.seeds
    ]
    for seed, result in zip(study.seeds, results, strict=True):
        if not {"curve_steps", "curve", "seconds"} <= set(result):
            raise ValueError(
                f"{runs.folder(seed) / 'result.npz'} was written by another version of this "
                f"experiment, with {sorted(result)}: delete {study.workdir}, or choose another "
                "--workdir"
            )
    values = {name: np.stack([each[name] for each in results]) for name in results[-1]}
    del values["curve_steps"]
    prefix = "probed."
    return Result(
        arm=arm,
        curve_steps=results[0]["curve_steps"],
        curve=values.pop("curve"),
        seconds=values.pop("seconds"),
        values={name: value for name, value in values.items() if not name.startswith(prefix)},
        probed={
            name.removeprefix(prefix): value
            for name, value in results[0].items()
            if name.startswith(prefix)
        },
    )


class _ArmRuns:
    """The runs of an arm; what they share is compiled once."""

    def __init__(self, study: Study, arm: Arm, regime: str):
        self.study, self.arm, self.regime = study, arm, regime
        self.views = arm.views or study.views
        self.batch_size = min(study.batch_size, len(arm.train))

    def folder(self, seed: int) -> pathlib.Path:
        """Returns the folder of a seed's run."""
        return (
            self.study.workdir / file_name(self.regime) / file_name(self.arm.name) / f"seed{seed}"
        )

    def result(self, seed: int) -> dict[str, Any]:
        """Trains a student and returns what it gave, as arrays."""
        run = self._in_phases if self.arm.phases else self._trained
        (network, steps, curve), seconds = timed(self.folder(seed), lambda: run(seed))
        study = self.study
        probed = study.probe(network) if study.probe and seed == study.seeds[0] else {}
        return {
            **study.evaluator.results(network),
            "curve_steps": steps,
            "curve": curve,
            "seconds": np.array(seconds),
            **{f"probed.{name}": value for name, value in probed.items()},
        }

    def _trained(self, seed: int) -> tuple[Network, np.ndarray, np.ndarray]:
        arm, study = self.arm, self.study
        student = self._student(seed)
        trained = train(
            Training(
                workdir=self.folder(seed),
                step=self._step,
                loader=self.loader(seed),
                steps=arm.steps,
                seed=seed,
                student=student,
                objective=arm.objective_of(seed) if arm.objective_of else None,
                evaluate=lambda state: study.evaluator.scores(
                    self._deployed(state.network(student))
                ),
                logs_per_evaluation=20 // study.evaluations,
                steps_per_call=study.steps_per_call,
                progress=self._progress(seed),
            ),
            study.runtime,
        )
        return self._deployed(trained.network), *trained.curve(study.evaluator.metric)

    def _in_phases(self, seed: int) -> tuple[Network, np.ndarray, np.ndarray]:
        assert self.arm.phases is not None
        student = self._student(seed)
        phases = list(self.arm.phases(student, seed))
        log_every = max(1, min(phase.steps for phase in phases) // 10)
        with self.loader(seed) as loader:
            students = run_phases(
                phases,
                loader,
                student=student,
                workdir=self.folder(seed),
                make_step=self._make_step,
                seed=seed,
                log_every=log_every,
                checkpoint_every=log_every * 5,
                progress=self._progress(seed),
                profile=self.study.runtime.profile,
            )
        network = self._deployed(list(students.values())[-1])
        score = self.study.evaluator.scores(network)[self.study.evaluator.metric]
        return network, np.array([sum(phase.steps for phase in phases)]), np.array([score])

    def _progress(self, seed: int) -> str:
        return f"{self.regime}: {self.arm.name}, seed {seed}"

    def _student(self, seed: int) -> Network:
        student = self.study.make_student(seed)
        return self.arm.extend(student, seed) if self.arm.extend else student

    def _deployed(self, network: Network) -> Network:
        return self.arm.deploy(network) if self.arm.deploy else network

    @functools.cached_property
    def _step(self) -> TrainStep:
        """The compiled step of an arm without phases, the same for all seeds."""
        arm, study = self.arm, self.study
        optimizer = arm.optimizer or adamw(study.learning_rate, arm.steps)
        first = self._student(study.seeds[0])
        return self._make_step(
            first, arm.objective, optimizer, teacher=arm.teacher, **arm.step_options
        )

    def _make_step(self, *networks: Any, **options: Any) -> TrainStep:
        return self.study.runtime.train_step(
            *networks, batch_size=self.batch_size, views=self.views, **options
        )

    def loader(self, seed: int) -> Loader:
        """Makes the batches of a seed's run."""
        study, arm = self.study, self.arm
        return study.runtime.loader(
            arm.train,
            self.views,
            self.batch_size,
            seed=seed,
            cache=arm.cache,
            # An arm's own views (mixtures, noise) are new in each epoch.
            num_views=None if arm.views else study.num_views,
            **study.loader_options,
        )
