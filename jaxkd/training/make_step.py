"""Makes the student's train step: pure, the same online and cached, on one device or many."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxkd.networks import Network, PyTree
from jaxkd.networks._architecture import describe
from jaxkd.networks._arguments import check_integer, check_kind
from jaxkd.networks._kinds import check_network
from jaxkd.objective import Objective
from jaxkd.teachers import ForeignTeacher
from jaxkd.training._gradients import (
    Batch,
    DistillationLoss,
    StepKeys,
    VjpFunction,
    mask_unrelated_connectors,
)
from jaxkd.training._metric_sums import SumsAndCounts
from jaxkd.training._optimizers import apply_optimizer, check_optimizer
from jaxkd.training.partitioning import Partitioning
from jaxkd.training.state import TrainState, initial_variables
from jaxkd.training.step import TrainStep
from jaxkd.views import Views


class BatchTransform(Protocol):
    """What a step makes of its batch first, such as `jaxkd.strategies.on_policy`.

    Example:
      >>> def halved(params, state, batch, *, step, key):
      ...     return {**batch, "inputs": batch["inputs"] / 2}
      >>> halved({}, {}, {"inputs": 4.0}, step=0, key=None)
      {'inputs': 2.0}
    """

    def __call__(
        self, params: PyTree, state: PyTree, batch: Batch, *, step: jax.Array, key: jax.Array
    ) -> Batch:
        """Returns the new batch.

        Args:
          params: the student's present parameters.
          state: the student's present state.
          batch: the rendered batch.
          step: the number of the step.
          key: a PRNG key of the step.
        """


def make_train_step(
    student: Network,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    teacher: Network | None = None,
    views: Views | None = None,
    teacher_train: bool = False,
    split_gradients: bool = False,
    micro_batches: int = 1,
    batch_transform: BatchTransform | None = None,
    partitioning: Partitioning | None = None,
) -> TrainStep:
    """Makes the train step of a student.

    The teacher's outputs come from `batch["teacher"]` (a cached record, logits, or named outputs)
    or, with `teacher=`, from its forward pass inside the step, in evaluation mode and outside the
    gradient, on the very inputs that the student sees. Nothing else differs.

    Args:
      student: the network to train; its variables are those of the `TrainState`.
      objective: what to minimize.
      optimizer: an optax transformation, chained with schedules at will.
      teacher: the online teacher, None where batches bring its outputs or no term needs one.
      views: raw batches are rendered by them first; None if batches are rendered already.
      teacher_train: whether the online teacher runs in training mode (batch statistics of the batch
        at hand, dropout), as in the authors' code of OFD. Its own statistics never move.
      split_gradients: whether the optimizer also gets the gradients of the terms without a teacher
        and of those with one separately, as `task_updates` and `distillation_updates`, which
        `jaxkd.training.dot` needs; costs a second backward pass.
      micro_batches: number of parts that a batch goes through the networks in, one after the other,
        for batches that do not fit in memory. The objective sees the outputs of the whole batch, so
        that its value and gradient are those of the batch whatever the losses couple; the cost is
        one more forward pass. Dropout has other samples for each part.
      batch_transform: changes the rendered batch before anything else sees it, for instance to
        what the student generates (`jaxkd.strategies.on_policy`). The teacher must be online.
      partitioning: placement of state, teacher and batches on a mesh of devices; None for one
        device.

    Returns:
      A `TrainStep`, whose `init` creates the state. A batch has `"inputs"` `[batch, ...]`,
      `"labels"` where a term needs them, and optionally `"where"` (bool `[batch]`, False = padding)
      and `"labeled"`. The metrics are `loss`, one entry a term, and `accuracy` on the labeled
      examples where labels are integers (and the student has logits, see
      `jaxkd.networks.without_logits`); under `optax.apply_if_finite` also `skipped`, the share of
      updates that were not made, and all others are of the steps that were.

    Raises:
      TypeError: an argument of another kind, such as a recipe in place of its objective.
      ValueError: `micro_batches` below 1; pruning that is not the last of a chain, or `dot` that is
        not the first; while tracing, before the first step: no or two sources
        of teacher outputs, missing outputs, shapes that do not fit, micro-batches of a network with
        batch statistics, cached outputs beside a batch_transform.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> objective, optimizer = recipes.kd(alpha=1.0), optax.sgd(0.1)
      >>> step = make_train_step(student, objective, optimizer)
      >>> state = step.init()
      >>> batch = {"inputs": jnp.eye(4), "teacher": jnp.zeros((4, 3))}
      >>> state, metrics = step(state, batch)
      >>> sorted(metrics), int(state.step)
      (['kd', 'loss'], 1)
    """
    check_kinds(student, objective, optimizer, teacher, views)
    check_integer("micro_batches", micro_batches)
    if micro_batches < 1:
        raise ValueError(f"micro_batches must be at least 1, not {micro_batches}")
    check_optimizer(optimizer, objective, initial_variables(student, objective)[0])
    loss = DistillationLoss(student, objective, teacher, teacher_train, micro_batches)

    def step_function(frozen, state, batch):
        batch = dict(views.render(batch) if views else batch)
        cached = batch.pop("teacher", None)
        if cached is not None:
            _check_cached(teacher, batch_transform)
        teacher_outputs = jax.lax.stop_gradient(as_outputs(cached))
        keys = StepKeys.from_state(state)
        if batch_transform is not None:
            params, model_state = state.params["student"], state.model_state["student"]
            batch = dict(
                batch_transform(
                    params, model_state, batch, step=state.step, key=keys.batch_transform
                )
            )
        sums, model_state, vjp = loss.value_and_vjp(frozen, state, batch, teacher_outputs, keys)
        gradients, extra = _gradients(objective, vjp, split_gradients)
        # Some transformations watch the loss, reduce_on_plateau for one.
        extra["value"] = sums["loss"][0]
        updates, opt_state = apply_optimizer(
            optimizer, gradients, state.opt_state, state.params, **extra
        )
        model_state, sums = _undo_if_skipped(opt_state, state.model_state, model_state, sums)
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            key=state.key,
        )
        return (partitioning.constrain(new_state) if partitioning else new_state), sums

    def logits(state, batch):
        inputs = (views.render(batch) if views else batch)["inputs"]
        params, model_state = state.params["student"], state.model_state["student"]
        return student.apply(params, model_state, inputs)[0].get("logits")

    frozen = (teacher.params, teacher.state) if teacher else ()
    if teacher and partitioning:
        frozen = partitioning.place_teacher(*frozen)
    return TrainStep(
        step_function,
        frozen,
        logits,
        student,
        objective,
        optimizer,
        partitioning,
        vocab_sizes=vocab_sizes(student, teacher),
        views=views,
        teacher=teacher,
        options={
            "teacher_train": teacher_train,
            "split_gradients": split_gradients,
            "batch_transform": None if batch_transform is None else describe(batch_transform),
        },
    )


def check_kinds(student: Any, objective: Any, optimizer: Any, teacher: Any, views: Any) -> None:
    """Refuses arguments of `make_train_step` that are of another kind.

    Args:
      student: must be a `Network`.
      objective: must be an `Objective`.
      optimizer: must be an optax transformation, or another object with `init` and `update`.
      teacher: must be a `Network`, or None.
      views: must be `Views`, or None.

    Raises:
      TypeError: another kind; names the argument and what to write instead.
    """
    check_network("student", student)
    check_kind("objective", objective, Objective, "write recipes.kd(), or Objective(kd=Term(…))")
    # optax.MultiSteps has both functions and is no GradientTransformation.
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        check_kind("optimizer", optimizer, optax.GradientTransformation, "write optax.sgd(0.1)")
    if isinstance(teacher, ForeignTeacher):
        raise TypeError(
            f"the teacher {teacher.name} runs outside of JAX, not within the compiled step: write "
            "cache = jaxkd.cache.build('cache', teacher, dataset, views), and train without "
            "teacher= on Loader(cache=cache, batch_size=…)"
        )
    if teacher is not None:
        check_network("teacher", teacher)
    if views is not None:
        check_kind("views", views, Views, "write Views((Normalize(),))")


def vocab_sizes(student: Network, teacher: Network | None) -> dict[str, int | None]:
    """Returns how many tokens the student and the online teacher have embeddings for."""
    return {
        "student": student.vocab_size,
        "teacher": None if teacher is None else teacher.vocab_size,
    }


def as_outputs(teacher_outputs: Any) -> dict[str, Any] | None:
    """Returns a teacher's outputs by name: decoded from a cached record, or of logits alone.

    Args:
      teacher_outputs: a record of a cache, named outputs, logits, or None.

    Returns:
      Output → array; None for None.
    """
    if teacher_outputs is None:
        return None
    if hasattr(teacher_outputs, "decode"):  # a record of a cache, or of several joined
        return dict(teacher_outputs.decode())
    if isinstance(teacher_outputs, Mapping):
        return dict(teacher_outputs)
    return {"logits": teacher_outputs}


def _check_cached(teacher: Network | None, batch_transform: BatchTransform | None) -> None:
    """Refuses a batch with a teacher's outputs beside another source, or other inputs, of them."""
    if teacher is not None:
        raise ValueError(
            "two teachers: teacher= was given and the batch carries a teacher's cached outputs"
        )
    if batch_transform is not None:
        raise ValueError(
            "the batch carries a teacher's cached outputs for the data, and batch_transform= puts "
            "other inputs, such as the student's own text, in their place: run the teacher online "
            "by teacher=, or leave batch_transform out"
        )


def _gradients(
    objective: Objective, vjp: VjpFunction, split: bool
) -> tuple[PyTree, dict[str, PyTree]]:
    """Returns the gradient, and with `split` its two parts as keywords for the optimizer."""
    one, zero = jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32)
    if not split:
        return vjp((one, one)), {}
    task, distillation = vjp((one, zero)), vjp((zero, one))
    gradients = jax.tree.map(jnp.add, task, distillation)
    task, distillation = mask_unrelated_connectors(objective, task, distillation)
    return gradients, {"task_updates": task, "distillation_updates": distillation}


def _undo_if_skipped(
    opt_state: PyTree, old: PyTree, new: PyTree, sums: SumsAndCounts
) -> tuple[PyTree, SumsAndCounts]:
    """Leaves model state and metrics as they were where `optax.apply_if_finite` made no update.

    Args:
      opt_state: the optimizer's state after the update.
      old: the model state before the step.
      new: the model state after it.
      sums: the metrics of the step.

    Returns:
      The model state that holds, and the metrics, with `skipped` if the optimizer can skip.
    """
    flags = optax.tree_utils.tree_get_all_with_path(opt_state, "last_finite")
    if not flags:
        return new, sums
    updated = functools.reduce(jnp.logical_and, (value for _, value in flags))
    new = jax.tree.map(lambda a, b: jnp.where(updated, b, a), old, new)
    counts = {
        name: (jnp.where(updated, total, 0), jnp.where(updated, count, 0))
        for name, (total, count) in sums.items()
    }
    skipped = 1 - updated.astype(jnp.float32)
    return new, {**counts, "skipped": (skipped, jnp.ones_like(skipped))}
