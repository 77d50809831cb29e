"""Checks of a run before its first step, and of its numbers before a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any
from weakref import WeakSet

import jax
import numpy as np

from jaxkd.data._examples import check_vocabulary
from jaxkd.data._fields import labeled_rows
from jaxkd.data._labels import has_token_labels
from jaxkd.networks._arguments import check_kind, names_to_allow, suggestion
from jaxkd.networks._trial import Trial
from jaxkd.objective import Objective
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep
from jaxkd.views import Views

# What a run is made of; the fields of each are named `"teacher.parameters"` and the like.
PARTS = (
    "batches",
    "dataset",
    "objective",
    "optimizer",
    "seed",
    "step",
    "student",
    "teacher",
    "views",
)


def check_allow(allow: Collection[str]) -> frozenset[str]:
    """Refuses names of what may differ that no field of a run has.

    Args:
      allow: names of parts of a run, as `"optimizer"`, or of their fields, as
        `"teacher.parameters"`.

    Returns:
      The names.

    Raises:
      TypeError: one text in place of a collection, or a name that is no text.
      ValueError: an unknown name; lists the known ones.
    """
    names = names_to_allow(allow)
    for name in names:
        if name.partition(".")[0] not in PARTS:
            raise ValueError(
                f"allow has the unknown name {name!r}{suggestion(name, PARTS)} It takes the names "
                f"{', '.join(PARTS)}, and those of their fields, as 'teacher.parameters'"
            )
    return names


def is_allowed(field: str, allow: Collection[str]) -> bool:
    """Returns whether a field may differ: by its own name or that of its part."""
    return field in allow or field.partition(".")[0] in allow


def check_kinds_of_run(step: Any, state: Any) -> None:
    """Refuses a step or a state of another kind, or a state whose memory was given away.

    Args:
      step: must be a `TrainStep`.
      state: must be a `TrainState`.

    Raises:
      TypeError: another kind; says what to write instead.
      ValueError: a state that an earlier call has used up.
    """
    check_kind("step", step, TrainStep, "write jaxkd.make_train_step(student, objective, …)")
    check_kind("state", state, TrainState, "write step.init(), or population.init()")
    if any(x.is_deleted() for x in jax.tree.leaves(state) if isinstance(x, jax.Array)):
        raise ValueError(
            "this state was given to an earlier call of fit or of the step, which reused its "
            "memory: go on with the state that it returned, result.state, or begin anew with "
            "step.init(), or population.init()"
        )


def check_data(step: TrainStep, state: TrainState, batches: Any, batch: Any) -> None:
    """Refuses a student without room for the classes or tokens of the data, and labels of nobody.

    Args:
      step: the step that is to train.
      state: its state.
      batches: batches by step number; checked if they have a `dataset`, as a `Loader`.
      batch: one of them, whose shapes are looked at.

    Raises:
      ValueError: fewer embeddings or fewer classes than the data have; terms that all compare with
        labels, of which there is none.
    """
    dataset = getattr(batches, "dataset", None)
    if dataset is None:
        return
    _check_labeled(step.objective, dataset)
    check_vocabulary(dataset, **step.vocab_sizes)
    # Shapes alone: networks are written without regard to the types of an Explicit mesh.
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    logits = jax.eval_shape(step.logits, shapes, batch)
    if logits is None:  # see `jaxkd.networks.without_logits`
        return
    _check_logits(logits.shape, dataset)


def _check_labeled(objective: Objective, dataset: Any) -> None:
    terms, labels = objective.terms.values(), dataset.labels
    if labels is None or not terms or has_token_labels(dataset) or labeled_rows(labels).any():
        return
    # A term may have its labels from another field of the batch, which is not looked at.
    if all("labels" in term.required_inputs and not term.fields for term in terms):
        raise ValueError(
            f"all terms of the objective, {sorted(objective.terms)}, compare with labels, and none "
            f"of the {len(dataset):,} examples of {dataset.name} has one: give the data labels, or "
            "the objective a teacher, recipes.kd(alpha=1.0)"
        )


def _check_logits(shape: tuple[int, ...], dataset: Any) -> None:
    # Which of several label sets belongs to which output is known to the terms alone.
    labels, num_classes = dataset.labels, dataset.num_classes
    if num_classes is None or isinstance(labels, Mapping):
        return
    if shape[-1] < num_classes:
        classes = "tokens in its vocabulary" if has_token_labels(dataset) else "classes"
        one = (
            ""
            if shape[-1] > 1 or num_classes > 2
            else (", or, for one decision of yes or no, give labels[:, None] with num_classes=1")
        )
        raise ValueError(
            f"the student's logits {shape} have {shape[-1]} classes, the data set "
            f"{dataset.name} has {num_classes} {classes}: widen the student's head{one}"
        )
    if labels.dtype.kind == "i" and labels.shape[1:] == shape[1:] and labels.size:
        large = np.argwhere(labels > 1)
        if len(large):
            row, *place = large[0].tolist()
            raise ValueError(
                f"labels of the shape of the logits, {labels.shape[1:]} for one example, are 0 or "
                f"1 for each class, or -1 where unknown: example id {dataset.ids[row]} of "
                f"{dataset.name} has {labels[tuple(large[0])]} at {place}"
            )


def check_process(step: TrainStep, batches: Any) -> None:
    """Refuses batches that are another part of the global batch than the step expects.

    Args:
      step: the step that is to train.
      batches: batches by step number; checked if they have a `process`, as a `Loader`.

    Raises:
      ValueError: another part, or another number of parts.
    """
    given = getattr(batches, "process", None)
    expected = step.partitioning.process if step.partitioning else (0, 1)
    if given is not None and given != expected:
        raise ValueError(
            f"the batches are part {given[0]} of {given[1]}, the step expects part {expected[0]} "
            f"of {expected[1]} from this process: make the Loader with process={expected}, or the "
            "step with the partitioning that the batches are for"
        )


def check_views(step: TrainStep, batches: Any, allow: Collection[str] = ()) -> None:
    """Refuses batches that were made for other views than those that the step renders.

    The student would see another crop, flip or normalization than the one that the cached outputs
    of its teacher belong to.

    Args:
      step: the step that is to train.
      batches: batches by step number; checked if they have `views` that are `Views`, as a
        `Loader`. Those that something else renders, a batch_transform for one, have none.
      allow: names of what may differ; `"views"` among them accepts all.

    Raises:
      ValueError: other views; names both.
    """
    if is_allowed("views", allow):
        return
    given = getattr(batches, "views", None)
    expected = step.views or Views()
    if not isinstance(given, Views) or given == expected:
        return
    if given.transforms == expected.transforms and not given.random:
        return
    raise ValueError(
        f"the batches are of the views {given}, the step renders {expected}: give both the same "
        "views, Loader(dataset, views, …) and make_train_step(…, views=views). Batches that are "
        "rendered already, or by a batch_transform, are given without an attribute `views`"
    )


def check_modes(step: TrainStep, batch: Any, allow: Collection[str]) -> None:
    """Refuses networks that are not in the mode that they are taken to be in.

    They are tried on the first batch, once for a step: what is compiled once is tried once.

    Args:
      step: the step that is to train.
      batch: the first batch.
      allow: names of what is accepted as it is, `"student.mode"` and `"teacher.mode"`.

    Raises:
      ValueError: a network that is random in evaluation or depends there on the rest of the batch;
        a student whose dropout or statistics training leaves off.
    """
    networks = {"student": step.student}
    if step.teacher is not None and not step.options.get("teacher_train"):
        networks["teacher"] = step.teacher
    tried = {role: n for role, n in networks.items() if not is_allowed(f"{role}.mode", allow)}
    if step in _TRIED or not tried:
        return
    batch = {name: value for name, value in batch.items() if name != "teacher"}

    def render(batch):
        return (step.views.render(batch) if step.views else batch)["inputs"]

    for role, network in tried.items():
        trial = Trial(network, role, render, (batch,))
        trial.check_evaluation()
        if role == "student":
            trial.check_training()
    if tried == networks:
        _TRIED.add(step)


# Steps whose networks have been tried.
_TRIED: WeakSet[TrainStep] = WeakSet()


def check_cache(step: TrainStep, batches: Any) -> None:
    """Refuses a cache of a teacher's outputs beside an online teacher; warns of one without use.

    Args:
      step: the step that is to train.
      batches: batches by step number; checked if they have a `cache`, as a `Loader`.

    Raises:
      ValueError: two teachers.
    """
    cache = getattr(batches, "cache", None)
    if cache is None:
        return
    where = getattr(cache, "path", type(cache).__name__)
    if step.teacher is not None:
        raise ValueError(
            f"two teachers: the step has the online teacher {step.teacher.name}, and the batches "
            f"bring the outputs in the cache {where}: leave teacher= out of make_train_step, or "
            "cache= out of the Loader"
        )
    if not step.objective.needs_teacher:
        warnings.warn(
            f"the batches bring a teacher's outputs from the cache {where}, which no term of the "
            f"objective uses, {sorted(step.objective.terms)}: leave cache= out of the Loader, or "
            "give the objective a term with a teacher",
            stacklevel=3,
        )


def check_profile(profile: int | None, workdir: Any) -> None:
    """Refuses a trace of no step, or one that has no directory to be written to.

    Args:
      profile: number of steps to trace, None for no trace.
      workdir: the work directory, if there is one.

    Raises:
      ValueError: fewer than one step, or no work directory.
    """
    if profile is not None and profile < 1:
        raise ValueError(f"profile must be at least 1 step, not {profile}")
    if profile is not None and workdir is None:
        raise ValueError(f"profile={profile} needs a workdir to write the trace to")


def check_finite(step: TrainStep, state: TrainState) -> None:
    """Refuses a state whose parameters are not finite, in every one of several students.

    Args:
      step: the step that trains, which has a compiled check.
      state: the state.

    Raises:
      FloatingPointError: a parameter is infinite or nan; names the step.
    """
    if not np.asarray(step.finite(state.params)).any():
        raise FloatingPointError(f"a parameter is not finite after step {int(state.step)}")
