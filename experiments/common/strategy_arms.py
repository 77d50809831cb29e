"""Strategies by name under the protocol of the methods: who teaches whom, and when."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import optax
from flax import nnx

import jaxkd
from experiments.common.protocol import Course
from experiments.common.study import Arm
from experiments.common.teachers import anchors_of
from jaxkd import Network, Views, recipes, strategies
from jaxkd.recipes import Pair
from jaxkd.views import Mixup

_LATENT = 64
_TEACHERS = ("one", "two", "three")


def check(name: str, course: Course, *, trained_here: bool) -> None:
    """Raises ValueError where a strategy does not fit the networks; trains nothing.

    Args:
      name: of the strategy.
      course: its teacher need not be trained yet.
      trained_here: whether the teacher will be, so that its earlier checkpoints are kept.
    """
    if name == "progressive" and not trained_here:
        raise ValueError(
            "progressive wants the teacher's earlier checkpoints, which are kept where it is "
            "trained by this experiment: leave teacher_weights empty"
        )
    if name not in ("progressive", "teachers_mean", "teachers_confidence", "teachers_random"):
        made = arm(name, course)
        fresh = course.make_student(0)
        if made.extend:
            made.extend(fresh, 0)
        if made.phases:
            made.phases(fresh, 0)


def arm(name: str, course: Course) -> Arm:
    """One strategy as an arm of a study."""
    return dataclasses.replace(_ARMS[name](course), name=name)


def _plain(course: Course, objective: Any, **changes: Any) -> Arm:
    known = {"train": course.train, "optimizer": course.optimizer()}
    return Arm(name="", objective=objective, steps=course.steps, **{**known, **changes})


def _several(how: str, course: Course) -> Arm:
    others = {
        name: course.another(course.make_teacher(100 + number), f"teacher_{name}")
        for number, name in enumerate(_TEACHERS[1:], 1)
    }
    teacher = strategies.joint_network({_TEACHERS[0]: course.teacher, **others})
    return _plain(course, strategies.multi_teacher(_TEACHERS, how=how), teacher=teacher)


def _mutual(course: Course) -> Arm:
    return _plain(
        course,
        strategies.mutual(("first", "second")),
        extend=lambda fresh, seed: strategies.joint_network(
            {"first": fresh, "second": course.make_student(1000 + seed)}
        ),
        deploy=lambda network: strategies.member_networks(network)["first"],
    )


def _average(course: Course) -> Arm:
    alpha = optax.linear_schedule(0.0, 0.5, course.steps)
    return _plain(
        course,
        strategies.self_distillation(alpha=alpha),
        extend=lambda fresh, seed: strategies.with_moving_average(fresh, decay=0.99),
        deploy=lambda network: strategies.member_networks(network)["live"],
    )


def _born_again(course: Course) -> Arm:
    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        first = strategies.Phase("labels", recipes.labels(), course.steps, course.optimizer())
        later = strategies.teacher_assistants(
            fresh,
            {f"generation{n}": course.make_student(1000 * n + seed) for n in (1, 2)},
            recipes.kd(),
            steps=course.steps,
            optimizer=course.optimizer(),
        )
        return [first, *(dataclasses.replace(phase, teacher="previous") for phase in later)]

    return _plain(course, recipes.kd(), phases=phases)


def _assistant(course: Course) -> Arm:
    if course.make_assistant is None:
        raise ValueError("the strategy assistant needs a network of a size between: name one")
    make_assistant = course.make_assistant

    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        first, second = strategies.teacher_assistants(
            course.teacher,
            {"assistant": make_assistant(seed), "student": fresh},
            recipes.kd(),
            steps=course.steps,
            optimizer=course.optimizer(),
        )
        own = course.optimizer(rate=course.assistant_rate)
        return [dataclasses.replace(first, optimizer=own), second]

    return _plain(course, recipes.kd(), phases=phases)


def _progressive(course: Course) -> Arm:
    route = [*anchors_of(course.study, course.teacher), course.teacher]
    steps = max(1, course.steps // len(route))

    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        adam = course.optimizer(steps)
        return strategies.progressive(route, recipes.kd(), steps=steps, optimizer=adam)

    return _plain(course, recipes.kd(), phases=phases)


def _early_stopped(course: Course) -> Arm:
    objective = strategies.early_stopped(max(1, round(0.6 * course.steps)))
    return _plain(course, objective, teacher=course.teacher)


def _stage_wise(course: Course) -> Arm:
    hints = max(1, course.steps // 4)

    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        rest = max(1, course.steps - hints)
        listed = strategies.stage_wise(
            Pair(fresh, course.teacher, course.inputs),
            recipes.kd(),
            hint_steps=hints,
            steps=rest,
            optimizer=course.optimizer(rest),
            seed=seed,
        )
        gentle = optax.sgd(course.config.learning_rate / 5, momentum=0.9)  # no decay of the rest
        return [dataclasses.replace(listed[0], optimizer=gentle), *listed[1:]]

    return _plain(course, recipes.kd(), phases=phases)


def _teacher_layers(course: Course) -> Arm:
    layers = matching_layers(course.make_student(0), course.teacher)
    return _plain(
        course,
        recipes.kd(),
        teacher=course.teacher,
        extend=lambda fresh, seed: strategies.from_teacher_layers(fresh, course.teacher, layers),
    )


def matching_layers(student: Network, teacher: Network) -> dict[str, str]:
    """Layers of equal path and shapes in both: a residual network's first blocks and its ends.

    Raises:
      ValueError: no layer of the student has a counterpart.
    """

    def shapes(network: Network) -> dict[str, dict[str, tuple[int, ...]]]:
        layers: dict[str, dict[str, tuple[int, ...]]] = {}
        for path, value in network.params.items():
            layer, _, last = path.rpartition(".")
            layers.setdefault(layer, {})[last] = value.shape
        return layers

    own, theirs = shapes(student), shapes(teacher)
    same = {layer: layer for layer in own if own[layer] == theirs.get(layer)}
    if not same:
        raise ValueError(
            f"no layer of the student {student.name} has the path and shape of one of the "
            f"teacher's, {teacher.name}: choose two networks of one family and width"
        )
    return same


def _frozen_classifier(course: Course) -> Arm:
    """The teacher's last layer on the student's features, never trained; equal widths only."""
    return _plain(
        course,
        recipes.kd(),
        teacher=course.teacher,
        extend=lambda fresh, seed: strategies.from_teacher_layers(
            fresh, course.teacher, {"head": "head"}
        ),
        optimizer=strategies.freeze(course.optimizer(), "head"),
    )


def _data_free(course: Course) -> Arm:
    examples, views = strategies.noise_dataset(len(course.train), _LATENT)
    height, width, channels = course.train.shape
    make = functools.partial(strategies.ImageGenerator, _LATENT, (height, width, channels))

    def whole(fresh: Network, seed: int) -> tuple[Network, jaxkd.Objective]:
        generator = jaxkd.from_nnx(make(rngs=nnx.Rngs(seed)))
        return strategies.data_free(fresh, generator, course.teacher, latent=_LATENT)

    adam = strategies.multi_optimizer(course.optimizer(), {"generator": optax.adam(1e-3)})
    return _plain(
        course,
        whole(course.make_student(0), 0)[1],
        train=examples,
        views=views,
        extend=lambda fresh, seed: whole(fresh, seed)[0],
        deploy=lambda network: strategies.member_networks(network)["student"],
        optimizer=adam,
    )


def _function_matching(course: Course) -> Arm:
    mixed = (*course.study.views.transforms, Mixup(course.train.num_classes, alpha=1.0))
    return _plain(
        course,
        recipes.kd(alpha=1.0, temperature=1.0),
        teacher=course.teacher,
        views=Views(mixed, seed=course.study.views.seed),
    )


_ARMS: dict[str, Callable[[Course], Arm]] = {
    "teachers_mean": functools.partial(_several, "mean"),
    "teachers_confidence": functools.partial(_several, "confidence"),
    "teachers_random": functools.partial(_several, "random"),
    "mutual": _mutual,
    "self_average": _average,
    "born_again": _born_again,
    "assistant": _assistant,
    "progressive": _progressive,
    "early_stopped": _early_stopped,
    "stage_wise": _stage_wise,
    "teacher_layers": _teacher_layers,
    "frozen_classifier": _frozen_classifier,
    "data_free": _data_free,
    "function_matching": _function_matching,
}
NAMES = tuple(_ARMS)
