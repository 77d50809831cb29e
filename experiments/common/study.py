"""What the experiments share: training a teacher, and the arms of a comparison over seeds."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from jaxkd import Network, Objective, TrainState
from jaxkd.cache import Cache
from jaxkd.data import Examples, Loader, eval_batches
from jaxkd.strategies import Phase
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
TEST_BATCH = 512
# Shares of a teacher's training at which it is kept for progressive distillation.
_ANCHORS = (0.2, 0.6)


@dataclasses.dataclass(frozen=True)
class Study:
    """What all arms have in common.

    Attributes:
      workdir: each run keeps its checkpoints, logs and result below it.
      make_student: from a seed to a fresh student.
      test: held-out examples.
      views: what training examples go through.
      test_views: what test examples go through.
      num_views: different views of an example, None for new ones in every epoch.
      batch_size: of training.
      learning_rate: the peak of a warmed-up cosine.
      seeds: one run of an arm for each.
      steps_per_call: see `jaxkd.training.fit`.
      partitioning: of all devices, None for a single one.
      profile: see `jaxkd.training.fit`.
      probe: what else is kept of a trained student, of the first seed alone.
      evaluations: of a student on its way, 1 to 20.
    """

    workdir: pathlib.Path
    make_student: Callable[[int], Network]
    test: Examples
    views: Views
    test_views: Views
    num_views: int | None
    batch_size: int
    learning_rate: float
    seeds: tuple[int, ...]
    steps_per_call: int | None
    partitioning: Partitioning | None = None
    profile: int | None = None
    probe: Callable[[Network], dict[str, np.ndarray]] | None = None
    evaluations: int = 10

    def eval_step_of(self, network: Network) -> EvalStep:
        """How a network answers to test examples."""
        spread = self.partitioning and self.partitioning.for_batch(TEST_BATCH)
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
      objective: what is minimized.
      steps: updates.
      teacher: asked online if given.
      cache: where the teacher's answers come from if given.
      objective_of: from a seed to the objective with connectors of that seed; None if the objective
        has nothing to draw.
      extend: what the method adds to a fresh student, given the seed too.
      optimizer: None for the study's own.
      split_gradients: see `jaxkd.make_train_step`.
      views: of training, None for the study's own.
      deploy: what is judged of the network that was trained; None for all of it.
      phases: from a fresh student and the seed to trainings one after the other, in place of the
        single one that objective, teacher and steps would make.
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
    split_gradients: bool = False
    views: Views | None = None
    deploy: Callable[[Network], Network] | None = None
    phases: Callable[[Network, int], Sequence[Phase]] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What the runs of an arm gave.

    Attributes:
      arm: the arm.
      logits: on the test examples, `[seeds, examples, num_classes]`.
      curve_steps: training steps of the evaluations `[points]`.
      curve: test accuracy at them `[seeds, points]`.
      seconds: training time of each run; nan where a run was cut and resumed.
      probed: what the study's probe found in the first seed's student.
    """

    arm: Arm
    logits: np.ndarray
    curve_steps: np.ndarray
    curve: np.ndarray
    seconds: np.ndarray
    probed: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def accuracies(self, labels: np.ndarray) -> np.ndarray:
        """Test accuracy of each seed."""
        return np.array([jaxkd.metrics.accuracy(logits, labels) for logits in self.logits])


def optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW under a cosine that warms up over the first twentieth of the steps."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, max(1, steps // 20), max(2, steps)
    )
    return optax.adamw(schedule, weight_decay=1e-4)


def train_teacher(
    study: Study,
    network: Network,
    train: Examples,
    steps: int,
    *,
    name: str = "teacher",
    transformation: optax.GradientTransformation | None = None,
    anchors: bool = False,
) -> Network:
    """Trains a teacher on all labels that it is given, or takes up where its training was cut.

    With `anchors` what it was at a fifth and at three fifths of its training is kept too, for
    `anchors_of`.
    """
    objective = jaxkd.recipes.labels()
    adam = transformation or optimizer(study.learning_rate, steps)
    batch_size = min(study.batch_size, len(train))
    spread, process = study.lay(batch_size)
    step = jaxkd.make_train_step(network, objective, adam, views=study.views, partitioning=spread)
    log_every = max(1, steps // 20)
    score = scorer(study, study.eval_step_of(network))
    fitted = fit(
        step,
        step.init(),
        Loader(train, study.views, batch_size, num_views=None, process=process),
        steps=steps,
        log_every=log_every,
        eval_every=log_every * 4,
        evaluate=_keeping(study, network, name, steps) if anchors else score,
        checkpoint_every=log_every * 4,
        workdir=study.workdir / name,
        progress=name,
        profile=study.profile,
    )
    return fitted.state.network(network)


def anchors_of(study: Study, teacher: Network, *, name: str = "teacher") -> list[Network]:
    """The teacher as it was on its way, early to late: what `train_teacher` kept.

    Raises:
      FileNotFoundError: it was trained elsewhere, or without `anchors`.
    """
    leaves, tree = jax.tree.flatten((teacher.params, teacher.state))
    found = []
    for index in range(len(_ANCHORS)):
        file = study.workdir / name / f"anchor{index}.npz"
        if not file.exists():
            raise FileNotFoundError(
                f"{file} is not there: the teacher's earlier checkpoints are kept only where it is "
                "trained by this experiment, and progressive distillation needs them"
            )
        with np.load(file) as stored:
            params, state = jax.tree.unflatten(
                tree, [jnp.asarray(stored[str(number)]) for number in range(len(leaves))]
            )
        found.append(teacher.replace(params=params, state=state))
    return found


def _keeping(
    study: Study, network: Network, name: str, steps: int
) -> Callable[[TrainState], dict[str, float]]:
    """A scorer that keeps the network at the shares of its training."""
    score, every = scorer(study, study.eval_step_of(network)), 4 * max(1, steps // 20)

    def scored(state: TrainState) -> dict[str, float]:
        for index, share in enumerate(_ANCHORS):
            # Of the evaluations the first one that has come so far.
            if 0 <= int(state.step) - share * steps < every:
                now = state.network(network)
                leaves = jax.tree.leaves((now.params, now.state))
                arrays = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
                save_arrays(study.workdir / name / f"anchor{index}.npz", **arrays)
        return score(state)

    return scored


def test_logits(study: Study, network: Network) -> np.ndarray:
    """A network's logits on the test examples."""
    step = study.eval_step_of(network)
    return predict(step, network, eval_batches(study.test, TEST_BATCH))


def scorer(study: Study, step: EvalStep) -> Callable[[TrainState], dict[str, float]]:
    """From the state of a training to its network's scores on the test examples."""

    def score(state: TrainState) -> dict[str, float]:
        return evaluate(
            step,
            state.params["student"],
            state.model_state["student"],
            eval_batches(study.test, TEST_BATCH),
        )

    return score


def once(file: pathlib.Path, make: Callable[[], dict[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays by name: read from their file, made and written first where it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, make())
    # Also where the file is there: one process may see it that another has just made.
    wait_for_all(str(file))
    with np.load(file) as stored:
        return dict(stored)


def save_arrays(file: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes a file for all processes, which read it afterwards."""
    _write(file, arrays)
    wait_for_all(str(file))


def _write(file: pathlib.Path, arrays: dict[str, Any]) -> None:
    if is_first():
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(file)
