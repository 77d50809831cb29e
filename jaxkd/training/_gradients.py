"""Gradients of the objective, for a batch at once or in micro-batches: pure, the same numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses import masked_sum_and_count
from jaxkd.networks import Network, PyTree
from jaxkd.objective import Objective, counted
from jaxkd.training._metric_sums import SumsAndCounts
from jaxkd.training.state import TrainState

Batch = Mapping[str, Any]
# From the cotangents of task and distillation to the gradient of the parameters.
VjpFunction = Callable[[tuple[jax.Array, jax.Array]], PyTree]


@dataclasses.dataclass(frozen=True)
class StepKeys:
    """The PRNG keys of one step, by who uses them."""

    student: jax.Array
    connectors: jax.Array
    teacher: jax.Array
    batch_transform: jax.Array

    @classmethod
    def from_state(cls, state: TrainState) -> StepKeys:
        """Derives the keys from the root key and the number of the step alone."""
        step_key = jax.random.fold_in(state.key, state.step)
        student, connectors = jax.random.split(step_key)
        teacher, batch_transform = (jax.random.fold_in(step_key, number) for number in (2, 3))
        return cls(student, connectors, teacher, batch_transform)


@dataclasses.dataclass(frozen=True)
class DistillationLoss:
    """What a step minimizes: the objective of a student beside its teacher.

    The loss has two parts, the task (the terms without a teacher) and the distillation (those with
    one), whose gradients can be computed separately.

    Attributes:
      student: the network that is trained.
      objective: a weighted sum of losses.
      teacher: the online teacher, run within the step; None where a batch brings its outputs.
      teacher_train: whether the teacher runs in training mode.
      micro_batches: number of parts that a batch goes through the networks in.
    """

    student: Network
    objective: Objective
    teacher: Network | None
    teacher_train: bool
    micro_batches: int

    def value_and_vjp(
        self,
        frozen: PyTree,
        state: TrainState,
        batch: Batch,
        teacher_outputs: Any,
        keys: StepKeys,
    ) -> tuple[SumsAndCounts, dict[str, PyTree], VjpFunction]:
        """Computes the metrics, and prepares the gradient.

        Args:
          frozen: the online teacher's variables.
          state: the state before the step.
          batch: the rendered batch.
          teacher_outputs: the teacher's named outputs, None where the teacher is online or no term
            needs one.
          keys: the keys of the step.

        Returns:
          The metrics, `"loss"` among them, the new model state, and the function that computes
          the gradient.
        """
        if self.micro_batches > 1:
            return self._in_micro_batches(frozen, state, batch, teacher_outputs, keys)
        if self.teacher is not None:
            teacher_outputs = self._apply_teacher(frozen, batch["inputs"], keys.teacher)

        def losses(params):
            outputs, new_state = self._apply_student(params, state, batch["inputs"], keys.student)
            parts, (sums, connectors) = self._apply_objective(
                outputs, teacher_outputs, batch, params, state, keys.connectors
            )
            return parts, (sums, {"student": new_state, "connectors": connectors})

        _, vjp, (sums, model_state) = jax.vjp(losses, state.params, has_aux=True)
        return sums, model_state, lambda cotangents: vjp(cotangents)[0]

    def _in_micro_batches(self, frozen, state, batch, teacher_outputs, keys):
        """Runs the networks on a part at a time, and the objective on all outputs at once.

        Whatever couples examples is computed from the whole batch. A first pass through the student
        gives the outputs; the gradient with respect to them goes back through a second pass, part
        by part, so that the activations of one part alone are in memory.

        Returns:
          Metric sums, model state, and the function that maps cotangents to gradients.

        Reference:
          Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021.
        """
        self._check_micro_batches(frozen, state)
        count = self.micro_batches
        params = state.params
        inputs = jax.tree.map(lambda leaf: _split_rows(leaf, count), batch["inputs"])
        numbers = jnp.arange(count)

        def student(params, part):
            inputs, number = part
            key = jax.random.fold_in(keys.student, number)
            outputs = self._apply_student(params, state, inputs, key)[0]
            needed = self.objective.student_outputs | {"logits"}
            return {name: value for name, value in outputs.items() if name in needed}

        def teacher(part):
            inputs, number = part
            return self._apply_teacher(frozen, inputs, jax.random.fold_in(keys.teacher, number))

        self._check_outputs(lambda inputs: student(params, (inputs, 0)), batch["inputs"])
        parts = (inputs, numbers)
        if self.teacher is not None:
            teacher_outputs = _join_rows(jax.lax.map(teacher, parts))
        outputs = _join_rows(jax.lax.map(lambda part: student(params, part), parts))

        def losses(outputs, connectors):
            return self._apply_objective(
                outputs, teacher_outputs, batch, {"connectors": connectors}, state, keys.connectors
            )

        _, objective_vjp, (sums, connectors) = jax.vjp(
            losses, outputs, params["connectors"], has_aux=True
        )

        def vjp(cotangents):
            of_outputs, of_connectors = objective_vjp(cotangents)

            def body(total, part):
                # The second pass: this part's forward pass again, and at once its backward pass.
                inputs, number, cotangent = part
                variables = {"student": params["student"]}
                _, student_vjp = jax.vjp(lambda v: student(v, (inputs, number)), variables)
                return jax.tree.map(jnp.add, total, student_vjp(cotangent)[0]["student"]), None

            zeros = jax.tree.map(jnp.zeros_like, params["student"])
            of_parts = jax.tree.map(lambda leaf: _split_rows(leaf, count), of_outputs)
            gradient, _ = jax.lax.scan(body, zeros, (inputs, numbers, of_parts))
            return {"student": gradient, "connectors": of_connectors}

        model_state = {"student": state.model_state["student"], "connectors": connectors}
        return sums, model_state, vjp

    def _check_micro_batches(self, frozen: PyTree, state: TrainState) -> None:
        """Refuses statistics of batches, which parts would compute from their own rows."""
        if names := _first_paths(state.model_state["student"]):
            raise ValueError(
                f"micro_batches={self.micro_batches}, but the student has state in training, "
                f"{names}: statistics of a part of a batch are not those of the batch. Use "
                "GroupNorm or LayerNorm instead of BatchNorm, fake_quantized without ranges, or "
                "micro_batches=1 with jaxkd.networks.remat"
            )
        if self.teacher is not None and self.teacher_train and (names := _first_paths(frozen[1])):
            raise ValueError(
                f"micro_batches={self.micro_batches} and teacher_train, but the teacher has batch "
                f"statistics, {names}, which would be those of parts: use micro_batches=1"
            )

    def _check_outputs(self, student: Callable[[Any], PyTree], inputs: Any) -> None:
        """Refuses outputs that do not belong to examples: those of parts cannot be joined."""
        part = jax.tree.map(lambda leaf: leaf[: leaf.shape[0] // self.micro_batches], inputs)
        whole, part = jax.eval_shape(student, inputs), jax.eval_shape(student, part)
        for name, output in whole.items():
            if not output.ndim or part[name].shape[0] * self.micro_batches != output.shape[0]:
                raise ValueError(
                    f"micro_batches={self.micro_batches}, but the student's output {name!r} "
                    f"{output.shape} has no axis of examples in front and cannot be put together "
                    "from parts of a batch (a head that a fused loss takes, for one): use "
                    "micro_batches=1 with jaxkd.networks.remat, or a term without a fused loss"
                )

    def _apply_teacher(self, frozen: PyTree, inputs: jax.Array, key: jax.Array) -> PyTree:
        assert self.teacher is not None
        params, state = frozen
        outputs, _ = self.teacher.apply(params, state, inputs, train=self.teacher_train, key=key)
        return jax.lax.stop_gradient(outputs)

    def _apply_student(self, params, state, inputs, key):
        model_state = state.model_state["student"]
        return self.student.apply(params["student"], model_state, inputs, train=True, key=key)

    def _apply_objective(self, outputs, teacher_outputs, batch, params, state, key):
        """Returns task and distillation, and as auxiliary data metrics and connectors' state."""
        value = self.objective.evaluate(
            outputs,
            teacher_outputs,
            batch,
            step=state.step,
            params=params["connectors"],
            state=state.model_state["connectors"],
            train=True,
            key=key,
        )
        loss = value.total
        sums = {"loss": (loss, jnp.ones_like(loss)), **value.metrics, **_accuracy(outputs, batch)}
        return (value.task, value.distillation), (sums, value.state)


def mask_unrelated_connectors(
    objective: Objective, task: PyTree, distillation: PyTree
) -> tuple[PyTree, PyTree]:
    """Masks in each of two gradients the connectors that its terms do not use.

    Args:
      objective: says which term has a teacher.
      task: the gradient of the terms without a teacher.
      distillation: the gradient of the terms with one.

    Returns:
      Both gradients, with None for the parameters of those connectors.
    """
    masked = []
    for gradients, has_teacher in ((task, False), (distillation, True)):
        connectors = {
            name: gradient
            if objective.terms[name].needs_teacher == has_teacher
            else jax.tree.map(lambda _: None, gradient)
            for name, gradient in gradients["connectors"].items()
        }
        masked.append({**gradients, "connectors": connectors})
    return masked[0], masked[1]


def _split_rows(values: jax.Array, count: int) -> jax.Array:
    """Splits `[batch, ...]` into `[count, batch / count, ...]`.

    Part i has the rows i, i + count, …: each device keeps its own rows in every part.

    Returns:
      `[count, batch / count, ...]`.

    Raises:
      ValueError: the batch cannot be cut into `count` equal parts.
    """
    if values.shape[0] % count:
        raise ValueError(
            f"a batch of {values.shape[0]} cannot be cut into micro_batches={count} equal parts: "
            "choose a batch_size that is a multiple"
        )
    return jnp.swapaxes(values.reshape(-1, count, *values.shape[1:]), 0, 1)


def _join_rows(tree: PyTree) -> PyTree:
    """Joins the parts of each leaf, the reverse of `_split_rows`."""
    return jax.tree.map(
        lambda values: jnp.swapaxes(values, 0, 1).reshape(-1, *values.shape[2:]), tree
    )


def _first_paths(tree: PyTree) -> list[str]:
    """Returns the paths of some leaves, for messages; empty for a tree without any."""
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ][:3]


def _accuracy(outputs: Mapping[str, jax.Array], batch: Batch) -> SumsAndCounts:
    """Returns the accuracy on the examples with a class as label; nothing where it has none."""
    labels, logits = batch.get("labels"), outputs.get("logits")
    if logits is None or labels is None or isinstance(labels, Mapping):
        return {}
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        return {}
    # Of one class, any example would be right; other shapes are those of multi-hot labels.
    if labels.shape != logits.shape[:-1] or logits.shape[-1] < 2:
        return {}
    hits = jnp.argmax(logits, axis=-1) == labels
    return {"accuracy": masked_sum_and_count(hits, counted(batch))}
