"""Methods by name under one protocol: labels alone, and any recipe or strategy."""

import dataclasses
import pathlib
from collections.abc import Sequence
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
    make_study,
    schedule,
)
from experiments.common.validation import check_choice, recipe_options, validate
from jaxkd import recipes
from jaxkd.metrics import Spread
from jaxkd.study import Arm, ArmTraining, Column, Study, StudyResults, Table
from jaxkd.study._wording import spread_over
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config


@dataclasses.dataclass(frozen=True)
class MethodResults:
    """Results of all methods.

    Attributes:
      results: results of the arms, labels alone first.
      study: what all methods share, with the trained teacher.
      teacher_logits: its logits on the test examples.
    """

    results: StudyResults
    study: Study
    teacher_logits: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Labels of the test examples."""
        return self.study.data["test"].labels

    @property
    def teacher_accuracy(self) -> float:
        """Accuracy of the teacher on the test examples."""
        return jaxkd.metrics.accuracy(self.teacher_logits, self.labels)

    def table(self, title: str, note: str = "") -> Table:
        """Makes a table of accuracies at the last step and gains on labels alone, by method."""
        baseline = self.results.values(BASELINE)
        rows: list[list[Any]] = []
        for name, result in self.results.arms.items():
            accuracies = self.results.values(name)
            gain = Spread.of(accuracies - baseline) if name != BASELINE else ""
            rows.append([name, Spread.of(accuracies), gain, int(result.curve_steps[-1])])
        caption = (
            f"{spread_over(len(baseline))}, last step, of a teacher "
            f"({100 * self.teacher_accuracy:.2f} %). {note}"
        )
        columns: list[Column | str] = ["Method", Column("Accuracy", "percent")]
        columns += [Column("Gain on labels", "points"), Column("Steps", "count")]
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
    options = recipe_options("protocol.options", context.config.options).get(name, {})
    if recipes.get(name).optimizer is None:
        return Arm(name, options, name=name)
    return Arm(_by_schedule, {"recipe": name, "config": context.config, **options}, name=name)


def _by_schedule(
    study: Study, seed: int, *, recipe: str, config: ProtocolConfig, **options: Any
) -> ArmTraining:
    """Trains by the optimizer that a recipe brings, under the schedule of the protocol."""
    training = Arm(recipe, options).training(study, seed)
    teacher = study.network_teacher(recipe)
    make = recipes.create(recipe, study.pair(seed, teacher), **options).make_optimizer
    assert make is not None
    rate = schedule(config, study.steps)
    return dataclasses.replace(training, optimizer=make(rate, weight_decay=config.weight_decay))


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
    study = make_study(config, networks, data, workdir, runtime, seeds)
    teacher = networks.trained_teacher or networks.make_teacher(100)
    context = MethodContext(
        study=study.replace(teacher=teacher),
        config=config,
        networks=networks,
        teacher_train=data.train,
        teacher_steps=teacher_epochs * max(1, len(data.train) // config.batch_size),
    )
    _check_fit(chosen, context)
    bind_config(workdir, identity)
    if networks.trained_teacher is None:
        teacher = context.train_teacher(teacher, anchors=True)
        context = dataclasses.replace(context, study=study.replace(teacher=teacher))
    arms = [arm(name, context) for name in dict.fromkeys([BASELINE, *chosen])]
    study = context.study.replace(arms=arms)
    return MethodResults(study.run(), study, study.evaluator("test").logits(teacher))


def _check_fit(chosen: Sequence[str], context: MethodContext) -> None:
    """Refuses what does not fit these networks, before anything is trained or saved."""
    for name in chosen:
        if name in strategy_arms.NAMES:
            strategy_arms.check(name, context)
        else:
            # With new views in every epoch nothing of the teacher is cached.
            arm(name, context).training(context.study.replace(num_views=0), 0)
