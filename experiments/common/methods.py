"""Methods by name under one protocol: labels alone, and any recipe or strategy."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import jaxkd
from experiments.common import strategy_arms
from experiments.common.protocol import (
    BASELINE,
    MethodContext,
    ProtocolConfig,
    schedule,
    sgd,
)
from experiments.common.runtime import Runtime
from experiments.common.study import Arm, Result, Study, run_arm
from experiments.common.teachers import train_teacher
from experiments.common.validation import recipe_options, validate
from jaxkd import Network, recipes
from jaxkd.data import Dataset
from jaxkd.metrics import Spread
from jaxkd.recipes import AppliedRecipe, Pair
from jaxkd.study import Column, Table
from jaxkd.training import bind_config
from jaxkd.views import Normalize, Views


@dataclasses.dataclass(frozen=True)
class MethodResults:
    """Results of all methods.

    Attributes:
      results: one result a method, labels alone first.
      labels: labels of the test examples.
      teacher: trained teacher.
      teacher_logits: its logits on the test examples.
      study: what all methods share.
    """

    results: list[Result]
    labels: np.ndarray
    teacher: Network
    teacher_logits: np.ndarray
    study: Study

    @property
    def teacher_accuracy(self) -> float:
        """Accuracy of the teacher on the test examples."""
        return jaxkd.metrics.accuracy(self.teacher_logits, self.labels)

    def table(self, title: str, note: str = "") -> Table:
        """Makes a table of accuracies at the last step and gains on labels alone, by method."""
        baseline = self.results[0].accuracies(self.labels)
        rows: list[list[Any]] = []
        for result in self.results:
            accuracies = result.accuracies(self.labels)
            gain = Spread.of(accuracies - baseline) if result is not self.results[0] else ""
            steps = int(result.curve_steps[-1])
            rows.append([result.arm.name, steps, Spread.of(accuracies), gain])
        caption = (
            f"Mean ± standard deviation of {len(baseline)} students (seeds), last step, of a "
            f"teacher ({100 * self.teacher_accuracy:.2f} %). {note}"
        )
        columns: list[Column | str] = [
            "Method",
            Column("Steps", "count"),
            Column("Accuracy", "percent"),
            Column("Gain on labels", "points"),
        ]
        return Table(title, columns, rows, caption.strip())


def recipe_names() -> list[str]:
    """The recipes for images that any student can be trained by, without the baseline."""
    return [
        name
        for name in recipes.names(language=False)
        # DeiT's student has a second head by its architecture: experiments.imagenet.
        if name != BASELINE and not recipes.get(name).student_outputs
    ]


def names() -> list[str]:
    """All methods: recipes, then strategies."""
    return [*recipe_names(), *strategy_arms.NAMES]


def check(name: str) -> None:
    """Raises ValueError for a method that there is not."""
    if name not in (BASELINE, *names()):
        raise ValueError(f"method must be one of {', '.join(names())}, not {name!r}")


def arm(name: str, context: MethodContext) -> Arm:
    """Makes the arm of a method."""
    if name in strategy_arms.NAMES:
        return strategy_arms.arm(name, context)
    config = context.config
    options = recipe_options("protocol.options", config.options).get(name, {})

    def applied(fresh: Network, seed: int) -> AppliedRecipe:
        pair = Pair(fresh, context.teacher, context.inputs)
        known: dict[str, Any] = {"steps": context.steps, "seed": seed, "dataset": context.train}
        return recipes.create(name, pair, **known, **options)

    first = applied(context.make_student(0), 0)
    if first.make_optimizer is None:
        optimizer = sgd(config, context.steps)
    else:
        rate = schedule(config, context.steps)
        optimizer = first.make_optimizer(rate, weight_decay=config.weight_decay)
    return Arm(
        name,
        context.train,
        first.objective,
        context.steps,
        teacher=first.teacher,
        objective_of=lambda seed: applied(context.make_student(seed), seed).objective,
        extend=lambda fresh, seed: applied(fresh, seed).student,
        optimizer=optimizer,
        step_options={"split_gradients": first.split_gradients},
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
    make_assistant: Callable[[int], Network] | None = None,
    trained_teacher: Network | None = None,
    teacher_rate: float | None = None,
    assistant_rate: float | None = None,
    views: Views | None = None,
    test_views: Views | None = None,
    num_views: int | None = 1,
    runtime: Runtime,
    probe: Callable[[Study, Network], dict[str, np.ndarray]] | None = None,
) -> MethodResults:
    """Trains a teacher once and a student for every method and seed.

    Args:
      chosen: names of methods; labels alone always come first.
      config: protocol of all trainings.
      workdir: folder of all runs; an interrupted run is resumed.
      train: training examples, with all labels.
      test: held-out examples.
      make_teacher: function from a seed to an untrained teacher.
      make_student: function from a seed to an untrained student.
      seeds: number of students of each method.
      teacher_epochs: passes of the teacher, over all of `train`.
      identity: configuration that the work directory is bound to; another one is refused.
      make_assistant: function from a seed to an untrained assistant, for the strategy of that name.
      trained_teacher: teacher to use instead of one trained here.
      teacher_rate: see `MethodContext`.
      assistant_rate: see `MethodContext`.
      views: how networks see training examples, by default normalized alone.
      test_views: how networks see test examples, by default normalized alone.
      num_views: number of different views of an example, None for new ones in every epoch.
      runtime: devices, tracing and consent.
      probe: function that returns further arrays to keep of the first seed's students.

    Returns:
      The results of all methods.

    Raises:
      ValueError: an unknown method, one that does not fit the networks, a protocol that cannot run,
        a work directory of another configuration; all before anything is trained.
    """
    for name in chosen:
        check(name)
    validate(config, "protocol.")
    recipe_options("protocol.options", config.options)
    test = test.select(test.ids[: config.test_examples]) if config.test_examples else test
    few = train.select(train.ids[: config.examples]) if config.examples else train
    plain = Views((Normalize(),))
    study = Study(
        workdir=workdir,
        make_student=make_student,
        test=test,
        views=views or plain,
        test_views=test_views or plain,
        num_views=num_views,
        batch_size=config.batch_size,
        learning_rate=3e-3,
        seeds=tuple(range(seeds)),
        steps_per_call=None,
        runtime=runtime,
        evaluations=config.evaluations,
    )
    if probe is not None:
        study = dataclasses.replace(study, probe=lambda network: probe(study, network))
    context = MethodContext(
        study=study,
        config=config,
        train=few,
        known=train,
        teacher=trained_teacher or make_teacher(100),
        teacher_steps=teacher_epochs * max(1, len(train) // config.batch_size),
        make_teacher=make_teacher,
        make_student=make_student,
        make_assistant=make_assistant,
        teacher_rate=teacher_rate,
        assistant_rate=assistant_rate,
    )
    # What does not fit these networks is refused here, before anything is trained or saved.
    for name in chosen:
        if name in strategy_arms.NAMES:
            strategy_arms.check(name, context, trained_here=trained_teacher is None)
        else:
            arm(name, context)
    bind_config(workdir, identity)
    teacher = context.teacher
    if trained_teacher is None:
        teacher = train_teacher(
            study,
            teacher,
            train,
            context.teacher_steps,
            optimizer=context.teacher_optimizer(),
            anchors=True,
        )
        context = dataclasses.replace(context, teacher=teacher)
    arms = [arm(name, context) for name in dict.fromkeys([BASELINE, *chosen])]
    results = [run_arm(study, each, "methods") for each in arms]
    return MethodResults(results, test.labels, teacher, study.evaluator.logits(teacher), study)
