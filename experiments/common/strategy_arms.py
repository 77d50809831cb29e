"""Strategies by name under the protocol of the methods: who teaches whom, and when."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import optax
from flax import nnx

import jaxkd
from experiments.common.protocol import MethodContext
from experiments.common.study import Arm
from experiments.common.teachers import anchors_of
from jaxkd import Network, Views, recipes, strategies
from jaxkd.recipes import Pair
from jaxkd.views import Mixup

_LATENT = 64
_TEACHERS = ("one", "two", "three")


def check(name: str, context: MethodContext) -> None:
    """Refuses a strategy that does not fit the networks; the teacher need not be trained yet."""
    if name == "progressive" and context.networks.trained_teacher is not None:
        raise ValueError(
            "progressive needs the teacher's earlier checkpoints, which are kept where it is "
            "trained by this experiment: leave teacher_weights empty"
        )
    if name not in ("progressive", "teachers_mean", "teachers_confidence", "teachers_random"):
        built = arm(name, context)
        fresh = context.networks.make_student(0)
        if built.extend:
            built.extend(fresh, 0)
        if built.phases:
            built.phases(fresh, 0)


def arm(name: str, context: MethodContext) -> Arm:
    """Makes the arm of a strategy."""
    return dataclasses.replace(_ARMS[name](context), name=name)


def _single(context: MethodContext, objective: Any, **changes: Any) -> Arm:
    known = {"train": context.train, "optimizer": context.optimizer()}
    return Arm(name="", objective=objective, steps=context.steps, **{**known, **changes})


def _several_teachers(how: str, context: MethodContext) -> Arm:
    others = {
        name: context.train_teacher(context.networks.make_teacher(100 + number), f"teacher_{name}")
        for number, name in enumerate(_TEACHERS[1:], 1)
    }
    teacher = strategies.joint_network({_TEACHERS[0]: context.teacher, **others})
    return _single(context, strategies.multi_teacher(_TEACHERS, how=how), teacher=teacher)


def _mutual(context: MethodContext) -> Arm:
    return _single(
        context,
        strategies.mutual(("first", "second")),
        extend=lambda fresh, seed: strategies.joint_network(
            {"first": fresh, "second": context.networks.make_student(1000 + seed)}
        ),
        deploy=lambda network: strategies.member_networks(network)["first"],
    )


def _self_average(context: MethodContext) -> Arm:
    alpha = optax.linear_schedule(0.0, 0.5, context.steps)
    return _single(
        context,
        strategies.self_distillation(alpha=alpha),
        extend=lambda fresh, seed: strategies.with_moving_average(fresh, decay=0.99),
        deploy=lambda network: strategies.member_networks(network)["live"],
    )


def _born_again(context: MethodContext) -> Arm:
    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        first = strategies.Phase("labels", recipes.labels(), context.steps, context.optimizer())
        later = strategies.teacher_assistants(
            fresh,
            {f"generation{n}": context.networks.make_student(1000 * n + seed) for n in (1, 2)},
            recipes.kd(),
            steps=context.steps,
            optimizer=context.optimizer(),
        )
        return [first, *(dataclasses.replace(phase, teacher="previous") for phase in later)]

    return _single(context, recipes.kd(), phases=phases)


def _assistant(context: MethodContext) -> Arm:
    if context.networks.make_assistant is None:
        raise ValueError("the strategy assistant needs a network of a size between: name one")
    make_assistant = context.networks.make_assistant

    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        first, second = strategies.teacher_assistants(
            context.teacher,
            {"assistant": make_assistant(seed), "student": fresh},
            recipes.kd(),
            steps=context.steps,
            optimizer=context.optimizer(),
        )
        optimizer = context.optimizer(rate=context.networks.assistant_rate)
        return [dataclasses.replace(first, optimizer=optimizer), second]

    return _single(context, recipes.kd(), phases=phases)


def _progressive(context: MethodContext) -> Arm:
    route = [*anchors_of(context.study, context.teacher), context.teacher]
    steps = max(1, context.steps // len(route))

    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        optimizer = context.optimizer(steps)
        return strategies.progressive(route, recipes.kd(), steps=steps, optimizer=optimizer)

    return _single(context, recipes.kd(), phases=phases)


def _early_stopped(context: MethodContext) -> Arm:
    objective = strategies.early_stopped(max(1, round(0.6 * context.steps)))
    return _single(context, objective, teacher=context.teacher)


def _stage_wise(context: MethodContext) -> Arm:
    hints = max(1, context.steps // 4)

    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        later = max(1, context.steps - hints)
        first, *others = strategies.stage_wise(
            Pair(fresh, context.teacher, context.inputs),
            recipes.kd(),
            hint_steps=hints,
            steps=later,
            optimizer=context.optimizer(later),
            seed=seed,
        )
        # Without weight decay, which would shrink the layers that hints do not train.
        optimizer = optax.sgd(context.config.learning_rate / 5, momentum=0.9)
        return [dataclasses.replace(first, optimizer=optimizer), *others]

    return _single(context, recipes.kd(), phases=phases)


def _teacher_layers(context: MethodContext) -> Arm:
    layers = matching_layers(context.networks.make_student(0), context.teacher)
    return _single(
        context,
        recipes.kd(),
        teacher=context.teacher,
        extend=lambda fresh, seed: strategies.from_teacher_layers(fresh, context.teacher, layers),
    )


def matching_layers(student: Network, teacher: Network) -> dict[str, str]:
    """Finds layers of equal path and shapes in both: first blocks and ends of residual networks.

    Returns:
      Paths of layers of the student, each with the path of its counterpart in the teacher.

    Raises:
      ValueError: no layer of the student has a counterpart.
    """

    def shapes(network: Network) -> dict[str, dict[str, tuple[int, ...]]]:
        layers: dict[str, dict[str, tuple[int, ...]]] = {}
        for path, value in network.params.items():
            layer, _, last = path.rpartition(".")
            layers.setdefault(layer, {})[last] = value.shape
        return layers

    student_shapes, teacher_shapes = shapes(student), shapes(teacher)
    same = {
        layer: layer
        for layer, its_shapes in student_shapes.items()
        if its_shapes == teacher_shapes.get(layer)
    }
    if not same:
        raise ValueError(
            f"no layer of the student {student.name} has the path and shape of one of the "
            f"teacher's, {teacher.name}: choose two networks of one family and width"
        )
    return same


def _frozen_classifier(context: MethodContext) -> Arm:
    """Puts the teacher's last layer on the student's features, untrained; equal widths only."""
    return _single(
        context,
        recipes.kd(),
        teacher=context.teacher,
        extend=lambda fresh, seed: strategies.from_teacher_layers(
            fresh, context.teacher, {"head": "head"}
        ),
        optimizer=strategies.freeze(context.optimizer(), "head"),
    )


def _data_free(context: MethodContext) -> Arm:
    examples, views = strategies.noise_dataset(len(context.train), _LATENT)
    height, width, channels = context.train.shape
    make = functools.partial(strategies.ImageGenerator, _LATENT, (height, width, channels))

    def with_generator(fresh: Network, seed: int) -> tuple[Network, jaxkd.Objective]:
        generator = jaxkd.from_nnx(make(rngs=nnx.Rngs(seed)))
        return strategies.data_free(fresh, generator, context.teacher, latent=_LATENT)

    return _single(
        context,
        with_generator(context.networks.make_student(0), 0)[1],
        train=examples,
        views=views,
        extend=lambda fresh, seed: with_generator(fresh, seed)[0],
        deploy=lambda network: strategies.member_networks(network)["student"],
        optimizer=strategies.multi_optimizer(context.optimizer(), {"generator": optax.adam(1e-3)}),
    )


def _function_matching(context: MethodContext) -> Arm:
    mixed = (*context.study.views.transforms, Mixup(context.train.num_classes, alpha=1.0))
    return _single(
        context,
        recipes.kd(alpha=1.0, temperature=1.0),
        teacher=context.teacher,
        views=Views(mixed, seed=context.study.views.seed),
    )


_ARMS: dict[str, Callable[[MethodContext], Arm]] = {
    "teachers_mean": functools.partial(_several_teachers, "mean"),
    "teachers_confidence": functools.partial(_several_teachers, "confidence"),
    "teachers_random": functools.partial(_several_teachers, "random"),
    "mutual": _mutual,
    "self_average": _self_average,
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
