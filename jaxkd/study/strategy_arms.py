"""Strategies as arms: who teaches whom, and when, on the data and by the protocol of a study.

Each is a function of a study, a seed and options that returns an `ArmTraining`; an `Arm` names it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optax
from flax import nnx

from jaxkd import strategies
from jaxkd.networks import Network, from_nnx
from jaxkd.recipes import kd, labels
from jaxkd.strategies import Phase
from jaxkd.views import Mixup, Views

if TYPE_CHECKING:
    from jaxkd.study.arms import ArmTraining
    from jaxkd.study.study import Study


def several_teachers(
    study: Study, seed: int, *, others: Mapping[str, Network], how: str = "mean"
) -> ArmTraining:
    """Learns from the study's teacher and others at once (`strategies.multi_teacher`).

    Args:
      study: the study.
      seed: of the student.
      others: further trained teachers by name.
      how: `"mean"`, `"confidence"` or `"random"`.

    Returns:
      The training.
    """
    teacher = strategies.joint_network({"teacher": study.network_teacher("several"), **others})
    objective = strategies.multi_teacher(("teacher", *others), how=how)
    return study.training(seed, objective, teacher=teacher, online=True)


def mutual(study: Study, seed: int) -> ArmTraining:
    """Trains two students that teach each other; the first one is kept."""
    first, second = study.make_student(seed), study.make_student(1000 + seed)
    return study.training(
        seed,
        strategies.mutual(("first", "second")),
        student=strategies.joint_network({"first": first, "second": second}),
        deploy=lambda network: strategies.member_networks(network)["first"],
    )


def self_average(
    study: Study, seed: int, *, decay: float = 0.99, alpha: float = 0.5
) -> ArmTraining:
    """Teaches the student by its own moving average.

    Args:
      study: the study.
      seed: of the student.
      decay: of the moving average.
      alpha: weight of it at the end of the training, to which it rises from 0.

    Returns:
      The training.
    """
    weight = optax.linear_schedule(0.0, alpha, study.steps)
    return study.training(
        seed,
        strategies.self_distillation(alpha=weight),
        student=strategies.with_moving_average(study.make_student(seed), decay=decay),
        deploy=lambda network: strategies.member_networks(network)["live"],
    )


def born_again(study: Study, seed: int, *, generations: int = 2) -> ArmTraining:
    """Trains a student on labels, and others of its architecture each on the one before.

    Args:
      study: the study.
      seed: of the first student.
      generations: number of students after the first one.

    Returns:
      The training.
    """
    fresh, steps, optimizer = study.make_student(seed), study.steps, study.optimizer()
    later = strategies.teacher_assistants(
        fresh,
        {f"generation{n}": study.make_student(1000 * n + seed) for n in range(1, 1 + generations)},
        kd(),
        steps=steps,
        optimizer=optimizer,
    )
    phases = [
        Phase("labels", labels(), steps, optimizer),
        *(dataclasses.replace(phase, teacher="previous") for phase in later),
    ]
    return study.training(seed, kd(), student=fresh, phases=phases)


def assistant(
    study: Study, seed: int, *, make_assistant: Callable[[int], Network], rate: float | None = None
) -> ArmTraining:
    """Distills into a network of a size between, and from that into the student.

    Args:
      study: the study.
      seed: of the student and the assistant.
      make_assistant: function from a seed to an untrained network.
      rate: learning rate of the assistant; None for that of the study.

    Returns:
      The training.
    """
    fresh = study.make_student(seed)
    first, second = strategies.teacher_assistants(
        study.network_teacher("assistant"),
        {"assistant": make_assistant(seed), "student": fresh},
        kd(),
        steps=study.steps,
        optimizer=study.optimizer(),
    )
    phases = [dataclasses.replace(first, optimizer=study.optimizer(rate=rate)), second]
    return study.training(seed, kd(), student=fresh, phases=phases)


def progressive(study: Study, seed: int, *, anchors: Sequence[Network]) -> ArmTraining:
    """Learns from the teacher as it was during its training, early to late.

    Args:
      study: the study.
      seed: of the student.
      anchors: the teacher's earlier selves, early to late, without the last one.

    Returns:
      The training.
    """
    route = [*anchors, study.network_teacher("progressive")]
    steps = max(1, study.steps // len(route))
    phases = strategies.progressive(route, kd(), steps=steps, optimizer=study.optimizer(steps))
    return study.training(seed, kd(), phases=phases)


def early_stopped(study: Study, seed: int, *, share: float = 0.6) -> ArmTraining:
    """Leaves the teacher out after a share of the steps.

    Args:
      study: the study.
      seed: of the student.
      share: of the steps.

    Returns:
      The training.
    """
    return study.training(seed, strategies.early_stopped(max(1, round(share * study.steps))))


def stage_wise(
    study: Study, seed: int, *, share: float = 0.25, rate: float | None = None
) -> ArmTraining:
    """Learns hints at the middle layers first, and logits afterwards.

    Args:
      study: the study.
      seed: of the student.
      share: of the steps that hints have.
      rate: learning rate of the hints; None for a fifth of the study's.

    Returns:
      The training.
    """
    hints = max(1, int(share * study.steps))
    later = max(1, study.steps - hints)
    first, *others = strategies.stage_wise(
        study.pair(seed, study.network_teacher("stage_wise")),
        kd(),
        hint_steps=hints,
        steps=later,
        optimizer=study.optimizer(later),
        seed=seed,
    )
    # Without weight decay, which would shrink the layers that hints do not train.
    optimizer = optax.sgd(study.learning_rate / 5 if rate is None else rate, momentum=0.9)
    phases = [dataclasses.replace(first, optimizer=optimizer), *others]
    return study.training(seed, kd(), phases=phases)


def teacher_layers(
    study: Study, seed: int, *, layers: Mapping[str, str] | None = None
) -> ArmTraining:
    """Starts from layers of the teacher.

    Args:
      study: the study.
      seed: of the student.
      layers: path in the student → path in the teacher; None for `matching_layers`.

    Returns:
      The training.
    """
    teacher, fresh = study.network_teacher("teacher_layers"), study.make_student(seed)
    layers = matching_layers(fresh, teacher) if layers is None else layers
    student = strategies.from_teacher_layers(fresh, teacher, dict(layers))
    return study.training(seed, kd(), student=student)


def frozen_classifier(study: Study, seed: int, *, head: str = "head") -> ArmTraining:
    """Puts the teacher's last layer on the student's features, untrained; equal widths only.

    Args:
      study: the study.
      seed: of the student.
      head: path of the last layer in both.

    Returns:
      The training.
    """
    teacher, fresh = study.network_teacher("frozen_classifier"), study.make_student(seed)
    return study.training(
        seed,
        kd(),
        student=strategies.from_teacher_layers(fresh, teacher, {head: head}),
        optimizer=strategies.freeze(study.optimizer(), head),
    )


def data_free(
    study: Study,
    seed: int,
    *,
    generator_rate: float = 1e-3,
    latent: int = 64,
    temperature: float = 1.0,
    one_hot: float = 1.0,
    information: float = 2.2,
    disagreement: float = 0.0,
) -> ArmTraining:
    """Learns without data, from images that a generator makes beside the student.

    Of the training examples it knows their number, and mean and standard deviation of their pixels
    as the teacher sees them, which the generator's images have, too.

    Args:
      study: the study.
      seed: of student and generator.
      generator_rate: learning rate of the generator, by an Adam of its own.
      latent: number of noise values of an image.
      temperature: of the student's divergence from the teacher.
      one_hot: weight of the teacher's cross entropy with its own most likely class.
      information: weight of the negative entropy of the batch's mean prediction.
      disagreement: weight of minus the mean absolute difference of logits.

    Returns:
      The training.
    """
    examples, views = strategies.noise_dataset(len(study.data["train"]), latent)
    seen = np.asarray(study.first_inputs(), np.float32)
    generator = strategies.ImageGenerator(
        latent, seen.shape[1:], mean=float(seen.mean()), std=float(seen.std()), rngs=nnx.Rngs(seed)
    )
    student, objective = strategies.data_free(
        study.make_student(seed),
        from_nnx(generator),
        study.network_teacher("data_free"),
        latent=latent,
        temperature=temperature,
        one_hot=one_hot,
        information=information,
        disagreement=disagreement,
    )
    others = {"generator": optax.adam(generator_rate)}
    return study.training(
        seed,
        objective,
        student=student,
        examples=examples,
        views=views,
        num_views=None,
        deploy=lambda network: strategies.member_networks(network)["student"],
        optimizer=strategies.multi_optimizer(study.optimizer(), others),
    )


def function_matching(study: Study, seed: int) -> ArmTraining:
    """Matches the teacher alone, at temperature 1, on mixed views that are new in each epoch.

    For long trainings: a ResNet-8 on 10,000 images of clothes is 0.6 points better than on labels
    after 15 epochs and 2.2 after 60, on validation images (`benchmarks/methods_stability.py`).

    Args:
      study: the study.
      seed: of the student.

    Returns:
      The training.
    """
    mixed = (*study.views.transforms, Mixup(study.data["train"].num_classes, alpha=1.0))
    return study.training(
        seed,
        kd(alpha=1.0, temperature=1.0),
        views=Views(mixed, seed=study.views.seed),
        num_views=None,
        online=True,
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

    ours, theirs = shapes(student), shapes(teacher)
    same = {layer: layer for layer, its_shapes in ours.items() if its_shapes == theirs.get(layer)}
    if not same:
        raise ValueError(
            f"no layer of the student {student.name} has the path and shape of one of the "
            f"teacher's, {teacher.name}: choose two networks of one family and width"
        )
    return same


_TEACHERS = (several_teachers, mutual, self_average, born_again, assistant, progressive)
_STARTS = (early_stopped, stage_wise, teacher_layers, frozen_classifier)
METHODS: dict[str, Callable[..., ArmTraining]] = {
    function.__name__: function for function in (*_TEACHERS, *_STARTS, data_free, function_matching)
}
NAMES = tuple(METHODS)


def options(name: str) -> dict[str, Any]:
    """Returns the options of a strategy with their defaults."""
    parameters = inspect.signature(METHODS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
