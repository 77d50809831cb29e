"""Gradients of the objective, for a batch at once or in micro-batches: pure, the same numbers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses import masked_sum_and_count
from jaxkd.networks import Network, PyTree
from jaxkd.objective import Objective, counted
from jaxkd.training.state import TrainState

Batch = Mapping[str, Any]
# Added up over steps, devices and hosts, then divided.
Sums = dict[str, tuple[jax.Array, jax.Array]]
# From the weights of task and distillation to the gradient of their sum.
PullBack = Callable[[tuple[jax.Array, jax.Array]], PyTree]


@dataclasses.dataclass(frozen=True)
class StepKeys:
    """The random keys of one step."""

    student: jax.Array
    teacher: jax.Array
    connectors: jax.Array


@dataclasses.dataclass(frozen=True)
class DistillationLoss:
    """A student, its teacher if it runs online, and what is minimized.

    Attributes:
      student: the network that is trained.
      objective: what is minimized.
      teacher: asked within the step if given.
      teacher_train: whether it runs in training mode.
      micro_batches: parts that a batch goes through the networks in.
    """

    student: Network
    objective: Objective
    teacher: Network | None
    teacher_train: bool
    micro_batches: int

    def pull_back(
        self, frozen: PyTree, state: TrainState, batch: Batch, answers: Any, keys: StepKeys
    ) -> tuple[PullBack, Sums, dict[str, PyTree]]:
        """The gradient to come, the metrics, and the new state of networks and connectors.

        Args:
          frozen: the online teacher's variables.
          state: before the step.
          batch: rendered.
          answers: the teacher's named outputs, None where it is asked here or nobody needs it.
          keys: of the step.
        """
        if self.micro_batches > 1:
            return self._in_parts(frozen, state, batch, answers, keys)
        if self.teacher is not None:
            answers = self._ask(frozen, batch["inputs"], keys.teacher)

        def losses(params):
            outputs, new_state = self._forward(params, state, batch["inputs"], keys.student)
            parts, (sums, connectors) = self._judge(
                outputs, answers, batch, params, state, keys.connectors
            )
            return parts, (sums, {"student": new_state, "connectors": connectors})

        _, pull_back, (sums, model_state) = jax.vjp(losses, state.params, has_aux=True)
        return lambda weights: pull_back(weights)[0], sums, model_state

    def _in_parts(self, frozen, state, batch, answers, keys):
        """The networks see a part at a time, the objective all outputs at once.

        Whatever couples examples is computed from the whole batch. A first pass through the student
        gives the outputs; the gradient to them goes back through a second one, part by part.

        Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021.
        """
        self._check_parts(frozen, state)
        count = self.micro_batches
        params = state.params
        inputs = jax.tree.map(lambda leaf: _split(leaf, count), batch["inputs"])
        numbers = jnp.arange(count)

        def student(params, part):
            inputs, number = part
            key = jax.random.fold_in(keys.student, number)
            outputs = self._forward(params, state, inputs, key)[0]
            wanted = self.objective.student_outputs | {"logits"}
            return {name: value for name, value in outputs.items() if name in wanted}

        def teacher(part):
            inputs, number = part
            return self._ask(frozen, inputs, jax.random.fold_in(keys.teacher, number))

        self._check_outputs(lambda inputs: student(params, (inputs, 0)), batch["inputs"])
        parts = (inputs, numbers)
        if self.teacher is not None:
            answers = _joined(jax.lax.map(teacher, parts))
        outputs = _joined(jax.lax.map(lambda part: student(params, part), parts))

        def judged(outputs, connectors):
            params = {"connectors": connectors}
            return self._judge(outputs, answers, batch, params, state, keys.connectors)

        _, back_to_outputs, (sums, connectors) = jax.vjp(
            judged, outputs, params["connectors"], has_aux=True
        )

        def pull_back(weights):
            to_outputs, to_connectors = back_to_outputs(weights)

            def body(total, part):
                inputs, number, cotangent = part
                own = {"student": params["student"]}
                _, back = jax.vjp(lambda own: student(own, (inputs, number)), own)
                return jax.tree.map(jnp.add, total, back(cotangent)[0]["student"]), None

            zeros = jax.tree.map(jnp.zeros_like, params["student"])
            cotangents = jax.tree.map(lambda leaf: _split(leaf, count), to_outputs)
            gradient, _ = jax.lax.scan(body, zeros, (inputs, numbers, cotangents))
            return {"student": gradient, "connectors": to_connectors}

        model_state = {"student": state.model_state["student"], "connectors": connectors}
        return pull_back, sums, model_state

    def _check_parts(self, frozen: PyTree, state: TrainState) -> None:
        if names := _names(state.model_state["student"]):
            raise ValueError(
                f"micro_batches={self.micro_batches}, but the student keeps state in training, "
                f"{names}: statistics of a part of a batch are not those of the batch. Use "
                "GroupNorm or LayerNorm instead of BatchNorm, fake_quantized without ranges, or "
                "micro_batches=1 with jaxkd.networks.remat"
            )
        if self.teacher is not None and self.teacher_train and (names := _names(frozen[1])):
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
                    "micro_batches=1 with jaxkd.networks.remat, or optax.MultiSteps"
                )

    def _ask(self, frozen: PyTree, inputs: jax.Array, key: jax.Array) -> PyTree:
        assert self.teacher is not None
        params, state = frozen
        outputs, _ = self.teacher.apply(params, state, inputs, train=self.teacher_train, key=key)
        return jax.lax.stop_gradient(outputs)

    def _forward(self, params, state, inputs, key):
        model_state = state.model_state["student"]
        return self.student.apply(params["student"], model_state, inputs, train=True, key=key)

    def _judge(self, outputs, answers, batch, params, state, key):
        """Task and distillation; with them the metrics and the connectors' new state."""
        value = self.objective.evaluate(
            outputs,
            answers,
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


def own_parts(objective: Objective, task: PyTree, distillation: PyTree) -> tuple[PyTree, PyTree]:
    """Both gradients, with None for the connectors that the part has nothing to do with."""
    parts = []
    for gradients, taught in ((task, False), (distillation, True)):
        connectors = {
            name: gradient
            if objective.terms[name].needs_teacher == taught
            else jax.tree.map(lambda _: None, gradient)
            for name, gradient in gradients["connectors"].items()
        }
        parts.append({**gradients, "connectors": connectors})
    return parts[0], parts[1]


def _split(values: jax.Array, count: int) -> jax.Array:
    """`[batch, ...]` as `[count, batch / count, ...]`.

    Part i has the rows i, i + count, …: each device keeps its own rows in every part.
    """
    if values.shape[0] % count:
        raise ValueError(
            f"a batch of {values.shape[0]} cannot be cut into micro_batches={count} equal parts: "
            "choose a batch_size that is a multiple"
        )
    return jnp.swapaxes(values.reshape(-1, count, *values.shape[1:]), 0, 1)


def _joined(tree: PyTree) -> PyTree:
    """The reverse of `_split`, for each leaf."""
    return jax.tree.map(
        lambda values: jnp.swapaxes(values, 0, 1).reshape(-1, *values.shape[2:]), tree
    )


def _names(tree: PyTree) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ][:3]


def _accuracy(outputs: Mapping[str, jax.Array], batch: Batch) -> Sums:
    if "labels" not in batch or not jnp.issubdtype(batch["labels"].dtype, jnp.integer):
        return {}
    if "logits" not in outputs:  # see `jaxkd.networks.without_logits`
        return {}
    hits = jnp.argmax(outputs["logits"], axis=-1) == batch["labels"]
    return {"accuracy": masked_sum_and_count(hits, counted(batch))}
