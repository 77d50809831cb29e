"""Strategies by name under the protocol of the methods: who teaches whom, and when."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.study import Arm, Study, anchors_of, optimizer, train_teacher
from jaxkd import Network, Views, recipes, strategies
from jaxkd.data import Dataset
from jaxkd.recipes import Pair
from jaxkd.views import Mixup

BASELINE = "labels"
_LATENT = 64
_TEACHERS = ("one", "two", "three")


@dataclasses.dataclass
class ProtocolConfig:
    """The protocol that all methods share: SGD with momentum.

    Attributes:
      examples: of the training set, the first so many; 0 for all.
      test_examples: likewise of the test set.
      epochs: passes of every student.
      learning_rate: peak.
      weight_decay: of all parameters.
      batch_size: of the students.
      schedule: `cosine`, warmed up and with Nesterov momentum; or `steps`, a tenth after 62.5, 75
        and 87.5 % of the training, the papers' 150, 180 and 210 of 240 epochs.
      options: JSON with options of recipes by name, `{"crd": {"num_negatives": 1024}}`.
      evaluations: of a student on its way, 1 to 20.
    """

    examples: int = 0
    test_examples: int = 0
    epochs: int = 10
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    batch_size: int = 64
    schedule: str = "cosine"
    options: str = "{}"
    evaluations: int = 10


@dataclasses.dataclass(frozen=True)
class Course:
    """What methods and strategies are made from.

    Attributes:
      study: of all arms.
      config: the protocol.
      train: what students learn from.
      known: what teachers were trained on.
      teacher: trained.
      teacher_steps: of its training.
      make_teacher: from a seed to a fresh teacher.
      make_student: likewise.
      make_assistant: likewise, of a size between; None where there is none.
    """

    study: Study
    config: ProtocolConfig
    train: Dataset
    known: Dataset
    teacher: Network
    teacher_steps: int
    make_teacher: Callable[[int], Network]
    make_student: Callable[[int], Network]
    make_assistant: Callable[[int], Network] | None = None

    @property
    def steps(self) -> int:
        """Of every student."""
        return self.config.epochs * max(1, len(self.train) // self.config.batch_size)

    @property
    def inputs(self) -> jax.ShapeDtypeStruct:
        """A batch as networks see it."""
        return jax.ShapeDtypeStruct((self.config.batch_size, *self.train.shape), np.float32)

    def schedule(self, steps: int) -> optax.Schedule:
        """The learning rate of a training."""
        peak = self.config.learning_rate
        if self.config.schedule == "steps":
            milestones = {round(steps * share): 0.1 for share in (0.625, 0.75, 0.875)}
            return optax.piecewise_constant_schedule(peak, milestones)
        return optax.warmup_cosine_decay_schedule(0.0, peak, max(1, steps // 20), max(2, steps))

    def optimizer(self, steps: int | None = None) -> optax.GradientTransformation:
        """SGD of a training, by default a student's."""
        nesterov = self.config.schedule == "cosine"
        sgd = optax.sgd(self.schedule(steps or self.steps), momentum=0.9, nesterov=nesterov)
        return optax.chain(optax.add_decayed_weights(self.config.weight_decay), sgd)

    def teacher_optimizer(self) -> optax.GradientTransformation:
        """Of teachers: the students' own in the papers' protocol, AdamW in the short one."""
        if self.config.schedule == "steps":
            return self.optimizer(self.teacher_steps)
        return optimizer(self.study.learning_rate, self.teacher_steps)

    def another(self, fresh: Network, name: str) -> Network:
        """A further teacher, trained like the first."""
        adam = self.teacher_optimizer()
        return train_teacher(
            self.study, fresh, self.known, self.teacher_steps, name=name, optimiser=adam
        )


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
    teacher = strategies.join({_TEACHERS[0]: course.teacher, **others})
    return _plain(course, strategies.several_teachers(_TEACHERS, how=how), teacher=teacher)


def _mutual(course: Course) -> Arm:
    return _plain(
        course,
        strategies.mutual(("first", "second")),
        extend=lambda fresh, seed: strategies.join(
            {"first": fresh, "second": course.make_student(1000 + seed)}
        ),
        deploy=lambda network: strategies.split(network)["first"],
    )


def _average(course: Course) -> Arm:
    alpha = optax.linear_schedule(0.0, 0.5, course.steps)
    return _plain(
        course,
        strategies.self_distillation(alpha=alpha),
        extend=lambda fresh, seed: strategies.with_average(fresh, decay=0.99),
        deploy=lambda network: strategies.split(network)["live"],
    )


def _born_again(course: Course) -> Arm:
    def phases(fresh: Network, seed: int) -> list[strategies.Phase]:
        first = strategies.Phase("labels", recipes.labels(), course.steps, course.optimizer())
        later = strategies.chain(
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
        return strategies.chain(
            course.teacher,
            {"assistant": make_assistant(seed), "student": fresh},
            recipes.kd(),
            steps=course.steps,
            optimizer=course.optimizer(),
        )

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
    examples, views = strategies.noise(len(course.train), _LATENT)
    height, width, channels = course.train.shape
    make = functools.partial(strategies.Generator, _LATENT, (height, width, channels))

    def whole(fresh: Network, seed: int) -> tuple[Network, jaxkd.Objective]:
        generator = jaxkd.from_nnx(make(rngs=nnx.Rngs(seed)))
        return strategies.data_free(fresh, generator, course.teacher, latent=_LATENT)

    adam = strategies.by_path(course.optimizer(), {"generator": optax.adam(1e-3)})
    return _plain(
        course,
        whole(course.make_student(0), 0)[1],
        train=examples,
        views=views,
        extend=lambda fresh, seed: whole(fresh, seed)[0],
        deploy=lambda network: strategies.split(network)["student"],
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
