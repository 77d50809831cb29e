"""What the experiments share: training a teacher, and the arms of a comparison over seeds."""

import dataclasses
import functools
import io
import pathlib
import time
from collections.abc import Callable

import numpy as np
import optax

import jaxkd
from jaxkd import Network, Objective, TrainState
from jaxkd.cache import Cache
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.training import (
    EvalStep,
    Partitioning,
    evaluate,
    fit,
    is_first,
    make_eval_step,
    predict,
    wait_for_all,
)
from jaxkd.views import Views

# Also a multiple of any number of devices that is a power of two.
_TEST_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Study:
    """What all arms have in common.

    Attributes:
      workdir: each run keeps its checkpoints, logs and result below it.
      make_student: from a seed to a fresh student.
      test: held-out examples.
      views: what training examples go through.
      test_views: what test examples go through.
      num_views: different views of an example.
      batch_size: of training.
      learning_rate: the peak of a warmed-up cosine.
      seeds: one run of an arm for each.
      steps_per_call: see `jaxkd.training.fit`.
      partitioning: of all devices, None for a single one.
      profile: see `jaxkd.training.fit`.
    """

    workdir: pathlib.Path
    make_student: Callable[[int], Network]
    test: Dataset
    views: Views
    test_views: Views
    num_views: int
    batch_size: int
    learning_rate: float
    seeds: tuple[int, ...]
    steps_per_call: int | None
    partitioning: Partitioning | None = None
    profile: int | None = None

    def eval_step_of(self, network: Network) -> EvalStep:
        """How a network answers to test examples."""
        spread = self.partitioning and self.partitioning.for_batch(_TEST_BATCH)
        return make_eval_step(network, views=self.test_views, partitioning=spread)

    def lay(self, batch_size: int) -> tuple[Partitioning | None, tuple[int, int]]:
        """Where a run with batches of a size lies, and which part of them this process reads."""
        spread = self.partitioning and self.partitioning.for_batch(batch_size)
        return spread, spread.process if spread else (0, 1)

    @functools.cached_property
    def eval_step(self) -> EvalStep:
        """Of the student; students differ in variables alone, so one program serves them all."""
        return self.eval_step_of(self.make_student(self.seeds[0]))


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training the student.

    Attributes:
      name: for people and for the directory of its runs.
      train: the examples, with the labels that it may use.
      objective: what is minimised.
      steps: updates.
      teacher: asked online if given.
      cache: where the teacher's answers come from if given.
      objective_of: from a seed to the objective with connectors of that seed; None if the objective
        has nothing to draw.
      extend: what the method adds to a fresh student, given the seed too.
      optimizer: None for the study's own.
      split_gradients: see `jaxkd.make_train_step`.
    """

    name: str
    train: Dataset
    objective: Objective
    steps: int
    teacher: Network | None = None
    cache: Cache | None = None
    objective_of: Callable[[int], Objective] | None = None
    extend: Callable[[Network, int], Network] | None = None
    optimizer: optax.GradientTransformation | None = None
    split_gradients: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """What the runs of an arm gave.

    Attributes:
      arm: the arm.
      logits: on the test examples, `[seeds, examples, num_classes]`.
      curve_steps: training steps of the evaluations `[points]`.
      curve: test accuracy at them `[seeds, points]`.
      seconds: training time of each run; nan where a run was cut and resumed.
    """

    arm: Arm
    logits: np.ndarray
    curve_steps: np.ndarray
    curve: np.ndarray
    seconds: np.ndarray

    def accuracies(self, labels: np.ndarray) -> np.ndarray:
        """Test accuracy of each seed."""
        return np.array([jaxkd.reporting.accuracy(logits, labels) for logits in self.logits])


def optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW under a cosine that warms up over the first twentieth of the steps."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, max(1, steps // 20), max(2, steps)
    )
    return optax.adamw(schedule, weight_decay=1e-4)


def train_teacher(
    study: Study, network: Network, train: Dataset, steps: int, *, name: str = "teacher"
) -> Network:
    """Trains a teacher on all labels that it is given, or takes up where its training was cut."""
    objective, adam = jaxkd.recipes.labels(), optimizer(study.learning_rate, steps)
    batch_size = min(study.batch_size, len(train))
    spread, process = study.lay(batch_size)
    step = jaxkd.make_train_step(network, objective, adam, views=study.views, partitioning=spread)
    log_every = max(1, steps // 20)
    fitted = fit(
        step,
        step.place(TrainState.create(network, objective, adam)),
        Loader(train, study.views, batch_size, num_views=None, process=process),
        steps=steps,
        log_every=log_every,
        eval_every=log_every * 4,
        evaluate=_scorer(study, study.eval_step_of(network)),
        checkpoint_every=log_every * 4,
        workdir=study.workdir / name,
        progress=name,
        profile=study.profile,
    )
    return fitted.state.network(network)


def test_logits(study: Study, network: Network) -> np.ndarray:
    """A network's logits on the test examples."""
    step = study.eval_step_of(network)
    return predict(step, network, eval_batches(study.test, _TEST_BATCH))


def run_arm(study: Study, arm: Arm, regime: str) -> Result:
    """Trains one student for each seed; runs that were finished before are read, not repeated."""
    adam = arm.optimizer or optimizer(study.learning_rate, arm.steps)

    def make_student(seed: int) -> Network:
        fresh = study.make_student(seed)
        return arm.extend(fresh, seed) if arm.extend else fresh

    student, eval_step = make_student(study.seeds[0]), study.eval_step
    if arm.extend:
        eval_step = study.eval_step_of(student)
    batch_size = min(study.batch_size, len(arm.train))
    spread, process = study.lay(batch_size)
    step = jaxkd.make_train_step(
        student,
        arm.objective,
        adam,
        teacher=arm.teacher,
        views=study.views,
        split_gradients=arm.split_gradients,
        partitioning=spread,
    )
    runs = []
    for seed in study.seeds:
        directory = study.workdir / _slug(regime) / _slug(arm.name) / f"seed{seed}"
        file = directory / "result.npz"
        if not file.exists():
            fresh = make_student(seed)
            objective = arm.objective_of(seed) if arm.objective_of else arm.objective
            log_every = max(1, arm.steps // 20)
            resumed = (directory / "checkpoints").exists()
            started = time.perf_counter()
            fitted = fit(
                step,
                step.place(TrainState.create(fresh, objective, adam, seed=seed)),
                Loader(
                    arm.train,
                    study.views,
                    batch_size,
                    seed=seed,
                    cache=arm.cache,
                    num_views=study.num_views,
                    process=process,
                ),
                steps=arm.steps,
                log_every=log_every,
                eval_every=log_every * 2,
                evaluate=_scorer(study, eval_step),
                checkpoint_every=log_every * 10,
                workdir=directory,
                # An online teacher may have convolutions, for which loops are slow on CPU.
                steps_per_call=None if arm.teacher else study.steps_per_call,
                progress=f"{regime}: {arm.name}, seed {seed}",
                profile=study.profile,
            )
            seconds = float("nan") if resumed else time.perf_counter() - started
            logits = predict(
                eval_step, fitted.state.network(fresh), eval_batches(study.test, _TEST_BATCH)
            )
            _save(
                file,
                logits=logits,
                steps=np.array([row["step"] for row in fitted.eval]),
                accuracy=np.array([row["accuracy"] for row in fitted.eval]),
                seconds=np.array(seconds),
            )
        with np.load(file) as stored:
            runs.append(dict(stored))
    return Result(
        arm=arm,
        logits=np.stack([run["logits"] for run in runs]),
        curve_steps=runs[0]["steps"],
        curve=np.stack([run["accuracy"] for run in runs]),
        seconds=np.array([float(run["seconds"]) for run in runs]),
    )


def _scorer(study: Study, step: EvalStep) -> Callable[[TrainState], dict[str, float]]:
    def score(state: TrainState) -> dict[str, float]:
        return evaluate(
            step,
            state.params["student"],
            state.model_state["student"],
            eval_batches(study.test, _TEST_BATCH),
        )

    return score


def _save(file: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes a file for all processes, which read it afterwards."""
    if is_first():
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(file)
    wait_for_all(str(file))


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower())
