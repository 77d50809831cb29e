"""The protocol that all tasks with labels share: five arms, settings chosen on validation examples.

Students of few labels are trained on these alone, with a teacher of all labels on all examples, and
with a teacher of the few labels on all examples, which is the control: what it brings is due to the
unlabeled examples and the larger network, not to labels that the student lacks. Students of all
labels are trained without and with the teacher. Each arm has as many settings as the others and as
many steps; the one that is best on the validation examples in the mean over all seeds is reported,
on the test examples, which nothing else sees.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

import jaxkd
from benchmarks.tasks_parts.task import (
    ALL,
    ALL_TAUGHT,
    CONTROL,
    FEW,
    TAUGHT,
    ArmResult,
    Task,
    TaskResult,
)
from jaxkd import Network
from jaxkd.cache import Cache
from jaxkd.compression import count_parameters
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.training import Population, TrainState, evaluate, fit, grid, make_eval_step

_EVAL_BATCH = 250
_STEPS_PER_CALL = 20


def run(task: Task, seeds: Sequence[int], folder: pathlib.Path) -> TaskResult:
    """Trains both teachers, caches their outputs, and trains the students of all arms.

    Args:
      task: the task.
      seeds: seeds of the students of each arm.
      folder: empty folder for the caches.

    Returns:
      The results.
    """
    few, pool = task.train.select(task.few), task.train.with_labels(task.few)
    teacher, control = (trained_teacher(task, data, 100) for data in (task.train, few))
    caches = {
        name: cached(task, network, folder / name)
        for name, network in (("teacher", teacher), ("control", control))
    }
    plain = population(task, task.labels, seeds, decay=task.decays)
    taught = population(task, task.distilled, seeds, decay=task.decays[0], alpha=task.alphas)
    arms = {
        FEW: students(task, plain, few),
        TAUGHT: students(task, taught, pool, caches["teacher"]),
        CONTROL: students(task, taught, pool, caches["control"]),
        ALL: students(task, plain, task.train),
        ALL_TAUGHT: students(task, taught, task.train, caches["teacher"]),
    }
    of_teacher, of_control = (scores(task, network) for network in (teacher, control))
    sizes = tuple(count_parameters(n.params) for n in (taught.student, teacher))
    return TaskResult.of(task, arms=arms, teacher=of_teacher, control=of_control, parameters=sizes)


def trained_teacher(task: Task, data: Dataset, seed: int) -> Network:
    """Trains a teacher on the labels of some examples.

    Args:
      task: the task.
      data: the examples.
      seed: seed of the initial weights and of the order of the examples.

    Returns:
      The teacher.
    """
    network = task.make_teacher(seed)
    schedule = optax.cosine_decay_schedule(task.teacher_rate, task.teacher_steps)
    step = jaxkd.make_train_step(network, task.labels, optax.adamw(schedule), views=task.views)
    loader = Loader(data, task.views, min(task.batch_size, len(data)), num_views=task.num_views)
    state = step.init(seed=seed)
    fitted = fit(
        step,
        state,
        loader,
        steps=task.teacher_steps,
        progress=None,
        steps_per_call=min(_STEPS_PER_CALL, task.teacher_steps),
    )
    return fitted.state.network(network)


def cached(task: Task, teacher: Network, path: pathlib.Path) -> Cache:
    """Caches the outputs of a teacher for all training examples."""
    return jaxkd.cache.build(
        path,
        teacher,
        task.train,
        task.views,
        codec=task.codec,
        num_views=task.num_views,
        progress=False,
    )


def population(
    task: Task, objective: Any, seeds: Sequence[int], **settings: Sequence[float] | float
) -> Population:
    """Makes the students of an arm, one for each setting and seed, which train together.

    Args:
      task: the task.
      objective: their objective, or a function of settings to it.
      seeds: seeds of the students.
      **settings: numbers by name, among which is chosen, beside the learning rates of the task.

    Returns:
      The students.
    """
    members = grid(rate=task.rates, **settings, seed=seeds)
    return Population(
        task.make_student, objective, _optimizer(task.steps), members, views=task.views
    )


def _optimizer(steps: int) -> Callable[..., optax.GradientTransformation]:
    schedule = optax.cosine_decay_schedule(1.0, steps)

    def optimizer(rate: Any, decay: Any) -> optax.GradientTransformation:
        return optax.chain(optax.adamw(schedule, weight_decay=decay), optax.scale(rate))

    return optimizer


def students(
    task: Task, together: Population, data: Dataset, cache: Cache | None = None
) -> ArmResult:
    """Trains all settings and seeds at once, and chooses among the settings.

    Args:
      task: the task.
      together: the students, from `population`.
      data: training examples, with the labels that the students know.
      cache: outputs of the teacher, None without one.

    Returns:
      The students of the best setting.
    """
    loader = Loader(
        data,
        task.views,
        min(task.batch_size, len(data)),
        cache=cache,
        num_views=task.num_views,
    )
    state = fit(
        together.step,
        together.init(),
        loader,
        steps=task.steps,
        progress=None,
        steps_per_call=min(_STEPS_PER_CALL, task.steps),
    ).state
    chosen_by, measure = next(iter(task.measures.items()))
    found = _values(task, together, state, task.validation)[chosen_by]
    by_setting: dict[tuple[tuple[str, float], ...], list[int]] = {}
    for index in range(len(together)):
        numbers = together.numbers(index)
        setting = tuple((key, numbers[key]) for key in numbers if key != "seed")
        by_setting.setdefault(setting, []).append(index)
    means = {setting: float(np.mean(found[members])) for setting, members in by_setting.items()}
    best = _best(means, measure.lower_is_better)
    tested = _values(task, together, state, task.test)
    values = {name: tested[name][by_setting[best]].tolist() for name in task.measures}
    return ArmResult(dict(best), values)


def _values(
    task: Task, together: Population, state: TrainState, data: Dataset
) -> dict[str, np.ndarray]:
    size = min(_EVAL_BATCH, len(data))
    return together.evaluator(data, task.metrics, views=task.test_views, batch_size=size)(state)


def scores(task: Task, network: Network) -> dict[str, float]:
    """Computes the measures of a network on the test examples."""
    step = make_eval_step(network, task.metrics, views=task.test_views)
    batches = eval_batches(task.test, min(_EVAL_BATCH, len(task.test)))
    return evaluate(step, network.params, network.state, batches)


def _best(values: Mapping[Any, float], lowest: bool) -> Any:
    finite = {key: value for key, value in values.items() if np.isfinite(value)}
    return (min if lowest else max)(finite, key=finite.__getitem__)
