"""Methods by name under one protocol: labels alone, and every recipe that is asked for."""

import dataclasses
import inspect
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

import jaxkd
from experiments.study import Arm, Result, Study, run_arm, test_logits, train_teacher
from jaxkd import Network, Objective, recipes
from jaxkd.data import Dataset
from jaxkd.recipes import Pair
from jaxkd.reporting import Column, Spread, Table
from jaxkd.training import Partitioning, claim, dot
from jaxkd.views import Normalize, Views

BASELINE = "labels"


@dataclasses.dataclass
class ProtocolConfig:
    """The protocol that all methods share: SGD with Nesterov momentum under a cosine.

    Attributes:
      examples: of the training set, the first so many; 0 for all.
      test_examples: likewise of the test set.
      epochs: passes of every student.
      learning_rate: peak.
      weight_decay: of all parameters.
      batch_size: of the students.
      options: JSON with options of recipes by name, `{"crd": {"num_negatives": 1024}}`.
    """

    examples: int = 0
    test_examples: int = 0
    epochs: int = 10
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    batch_size: int = 64
    options: str = "{}"


@dataclasses.dataclass(frozen=True)
class Compared:
    """What came out: the results in the order of the methods, labels first."""

    results: list[Result]
    labels: np.ndarray
    teacher_accuracy: float

    def table(self, title: str, note: str = "") -> Table:
        """Accuracy at the last step and what the teacher brought, one row a method."""
        baseline = self.results[0].accuracies(self.labels)
        rows: list[list[Any]] = []
        for result in self.results:
            accuracies = result.accuracies(self.labels)
            gain = Spread.of(accuracies - baseline) if result is not self.results[0] else ""
            rows.append([result.arm.name, Spread.of(accuracies), gain])
        caption = (
            f"Mean ± standard deviation of {len(baseline)} students (seeds), last step, one "
            f"teacher ({100 * self.teacher_accuracy:.2f} %). {note}"
        )
        columns: list[Column | str] = [
            "Method",
            Column("Accuracy", "percent"),
            Column("Gain on labels", "points"),
        ]
        return Table(title, columns, rows, caption.strip())


def names() -> list[str]:
    """All methods: the recipes, and DOT, which is an optimizer on Hinton's objective."""
    found = [
        name
        for name, recipe in vars(recipes).items()
        if inspect.isfunction(recipe) and not name.endswith("_pair")
    ]
    return sorted({*found, "dot"} - {BASELINE})


def check(name: str) -> None:
    """Raises ValueError for a method that there is not."""
    if name not in (BASELINE, *names()):
        raise ValueError(f"method must be one of {', '.join(names())}, not {name!r}")


def objective(name: str, pair: Pair, *, steps: int, seed: int = 0, **options: Any) -> Objective:
    """The objective of a method, with the arguments that its recipe takes."""
    recipe: Callable[..., Objective] = recipes.kd if name == "dot" else getattr(recipes, name)
    accepted = inspect.signature(recipe).parameters
    known = {"pair": pair, "steps": steps, "seed": seed}
    return recipe(**{k: v for k, v in known.items() if k in accepted} | options)


def prepare(name: str, pair: Pair, seed: int) -> Pair:
    """The networks as the method wants them: most leave them alone, SimKD adds to the student."""
    changed = getattr(recipes, f"{name}_pair", None)
    if changed is None:
        return pair
    return changed(
        pair, **({"seed": seed} if "seed" in inspect.signature(changed).parameters else {})
    )


def optimizer(
    name: str, config: ProtocolConfig, steps: int
) -> tuple[optax.GradientTransformation, bool]:
    """The optimizer, and whether it wants two gradients."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, max(1, steps // 20), max(2, steps)
    )
    if name == "dot":
        return dot(schedule, weight_decay=config.weight_decay), True
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(decay, optax.sgd(schedule, momentum=0.9, nesterov=True)), False


def arm(
    name: str,
    train: Dataset,
    teacher: Network,
    make_student: Callable[[int], Network],
    config: ProtocolConfig,
) -> Arm:
    """One method as an arm of a study."""
    steps = config.epochs * max(1, len(train) // config.batch_size)
    inputs = jax.ShapeDtypeStruct((config.batch_size, *train.inputs.shape[1:]), np.float32)
    options = json.loads(config.options).get(name, {})
    if name == "crd":
        # By id, as the banks are; an id that is not among the examples is a class of its own.
        classes = np.full(int(train.ids.max()) + 1, -1, np.int32)
        classes[train.ids] = train.labels
        options = {"num_examples": len(classes), "classes": classes, **options}

    def pair_of(fresh: Network, seed: int) -> Pair:
        return prepare(name, Pair(fresh, teacher, inputs), seed)

    def objective_of(seed: int) -> Objective:
        pair = pair_of(make_student(seed), seed)
        return objective(name, pair, steps=steps, seed=seed, **options)

    optimiser, split = optimizer(name, config, steps)
    first, prepared = objective_of(0), pair_of(make_student(0), 0)
    return Arm(
        name,
        train,
        first,
        steps,
        teacher=prepared.teacher if first.needs_teacher else None,
        objective_of=objective_of,
        extend=lambda fresh, seed: pair_of(fresh, seed).student,
        optimizer=optimiser,
        split_gradients=split,
    )


def run(
    chosen: Sequence[str],
    config: ProtocolConfig,
    workdir: pathlib.Path,
    train: Dataset,
    test: Dataset,
    make_teacher: Callable[[int], Network],
    make_student: Callable[[int], Network],
    *,
    seeds: int,
    teacher_epochs: int,
    identity: dict[str, Any],
    partitioning: Partitioning | None = None,
    profile: int | None = None,
) -> Compared:
    """Trains a teacher once and a student for every method and seed.

    Args:
      chosen: names of methods; labels alone always come first.
      config: the protocol.
      workdir: everything is kept below it; a run that was cut is taken up.
      train: with all labels.
      test: held out.
      make_teacher: from a seed to a fresh teacher.
      make_student: from a seed to a fresh student.
      seeds: students of each method.
      teacher_epochs: passes of the teacher, over all of `train`.
      identity: what the work directory belongs to; another one is refused.
      partitioning: of all devices, None for a single one.
      profile: steps to trace of every run, see `jaxkd.training.fit`.

    Returns:
      What came out.

    Raises:
      ValueError: an unknown method, a work directory of another configuration.
    """
    for name in chosen:
        check(name)
    test = test.select(test.ids[: config.test_examples]) if config.test_examples else test
    few = train.select(train.ids[: config.examples]) if config.examples else train
    views = Views((Normalize(),))
    study = Study(
        workdir=workdir,
        make_student=make_student,
        test=test,
        views=views,
        test_views=views,
        num_views=1,
        batch_size=config.batch_size,
        learning_rate=3e-3,
        seeds=tuple(range(seeds)),
        steps_per_call=None,
        partitioning=partitioning,
        profile=profile,
    )
    claim(workdir, identity)
    steps = teacher_epochs * max(1, len(train) // config.batch_size)
    teacher = train_teacher(study, make_teacher(100), train, steps)
    arms = [
        arm(name, few, teacher, make_student, config) for name in dict.fromkeys([BASELINE, *chosen])
    ]
    results = [run_arm(study, each, "methods") for each in arms]
    accuracy = jaxkd.reporting.accuracy(test_logits(study, teacher), test.labels)
    return Compared(results, test.labels, accuracy)
