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
    MethodData,
    MethodNetworks,
    ProtocolConfig,
    schedule,
    sgd,
)
from experiments.common.study import Arm, Result, Study, run_arm
from experiments.common.validation import check_choice, recipe_options, validate
from jaxkd import Network, recipes
from jaxkd.data import Dataset
from jaxkd.metrics import Spread
from jaxkd.study import ArmTraining, Column, Table
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config


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
        columns: list[Column | str] = ["Method", Column("Steps", "count")]
        columns += [Column("Accuracy", "percent"), Column("Gain on labels", "points")]
        return Table(title, columns, rows, caption.strip())


def recipe_names() -> list[str]:
    """Returns the recipes for classes of images that fit any student, without the baseline."""
    return [
        name
        for name in recipes.names(language=False, task="classes")
        # DeiT's student has a second head by its architecture: experiments.imagenet.
        if name != BASELINE and not recipes.get(name).student_outputs
    ]


def names() -> list[str]:
    """Returns the names of all methods: recipes, then strategies."""
    return [*recipe_names(), *strategy_arms.NAMES]


def check(name: str) -> None:
    """Raises ValueError for an unknown method."""
    check_choice("method", name, [BASELINE, *names()])


def arm(name: str, context: MethodContext) -> Arm:
    """Makes the arm of a method."""
    if name in strategy_arms.NAMES:
        return strategy_arms.arm(name, context)
    config = context.config
    options = recipe_options("protocol.options", config.options).get(name, {})

    def training(seed: int) -> ArmTraining:
        pair, steps = context.pair(seed, context.teacher), context.steps
        applied = recipes.create(
            name, pair, seed=seed, steps=steps, dataset=context.train, **options
        )
        optimizer = sgd(config, steps)
        if applied.make_optimizer is not None:
            rate = schedule(config, steps)
            optimizer = applied.make_optimizer(rate, weight_decay=config.weight_decay)
        return context.training(
            seed,
            applied.objective,
            student=applied.student,
            teacher=applied.teacher,
            optimizer=optimizer,
            step_options={"split_gradients": applied.split_gradients},
        )

    objective = training(0).objective
    return Arm(name, context.train, objective, context.steps, make_training=training)


def run(
    chosen: Sequence[str],
    config: ProtocolConfig,
    networks: MethodNetworks,
    data: MethodData,
    workdir: pathlib.Path,
    runtime: Runtime,
    *,
    seeds: int,
    teacher_epochs: int,
    identity: dict[str, Any],
    probe: Callable[[Study, Network], dict[str, np.ndarray]] | None = None,
) -> MethodResults:
    """Trains a teacher once and a student for every method and seed.

    Args:
      chosen: names of methods; labels alone always come first.
      config: protocol of all trainings.
      networks: functions that make the networks.
      data: examples and views.
      workdir: folder of all runs; an interrupted run is resumed.
      runtime: devices, tracing and consent.
      seeds: number of students of each method.
      teacher_epochs: number of passes of the teacher, over all training examples.
      identity: configuration that the work directory is bound to; another one is refused.
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
    recipes_chosen = [name for name in chosen if name not in strategy_arms.NAMES]
    recipe_options("protocol.options", config.options, recipes_chosen)
    test = _first(data.test, config.test_examples)
    study = Study(
        workdir=workdir,
        make_student=networks.make_student,
        test=test,
        views=data.views,
        test_views=data.test_views,
        num_views=data.num_views,
        batch_size=config.batch_size,
        learning_rate=3e-3,
        seeds=tuple(range(seeds)),
        runtime=runtime,
        evaluations=config.evaluations,
    )
    if probe is not None:
        study = dataclasses.replace(study, probe=lambda network: probe(study, network))
    context = MethodContext(
        study=study,
        config=config,
        networks=networks,
        train=_first(data.train, config.examples),
        teacher_train=data.train,
        teacher=networks.trained_teacher or networks.make_teacher(100),
        teacher_steps=teacher_epochs * max(1, len(data.train) // config.batch_size),
    )
    _check_fit(chosen, context)
    bind_config(workdir, identity)
    if networks.trained_teacher is None:
        trained = context.train_teacher(context.teacher, anchors=True)
        context = dataclasses.replace(context, teacher=trained)
    arms = [arm(name, context) for name in dict.fromkeys([BASELINE, *chosen])]
    results = [run_arm(study, each, "methods") for each in arms]
    logits = study.test_evaluator.logits(context.teacher)
    return MethodResults(results, test.labels, context.teacher, logits, study)


def _first(data: Dataset, examples: int) -> Dataset:
    """Returns the first examples of a dataset, all of them for 0."""
    return data.select(data.ids[:examples]) if examples else data


def _check_fit(chosen: Sequence[str], context: MethodContext) -> None:
    """Refuses what does not fit these networks, before anything is trained or saved."""
    for name in chosen:
        if name in strategy_arms.NAMES:
            strategy_arms.check(name, context)
        else:
            arm(name, context)
