"""The student's train step and evaluation step: pure, compiled, the same online and cached."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxkd.losses import cross_entropy, masked_sum_and_count
from jaxkd.networks import Network, PyTree
from jaxkd.objective import Objective, counted
from jaxkd.training.state import TrainState
from jaxkd.views import Views

Batch = Mapping[str, Any]
Metrics = dict[str, jax.Array]
# Added up over steps, micro-batches and hosts, then divided.
Sums = dict[str, tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainStep:
    """`step(state, batch) -> (state, metrics)`, compiled; the state's memory is reused.

    Attributes:
      function: the pure function `(frozen, state, batch) -> (state, sums)`, the metrics as
        (sum, count).
      frozen: what the step uses and never trains, the online teacher's variables. An argument
        rather than a constant, which the compiler would copy into the program.
      logits: the student's logits for a batch, `(state, batch) -> array`; their shape is checked
        against the data before training.
    """

    function: Callable[[PyTree, TrainState, Batch], tuple[TrainState, Sums]]
    frozen: PyTree
    logits: Callable[[TrainState, Batch], jax.Array]

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step."""
        return self._one(self.frozen, state, batch)

    def many(
        self, state: TrainState, batches: Batch, count: int | jax.Array
    ) -> tuple[TrainState, Sums]:
        """Several steps in one call of one compiled program.

        Args:
          state: the state; its memory is reused.
          batches: batches stacked along a new first axis.
          count: how many of them to use, from the first on; traced, so that a shorter last stretch
            compiles nothing anew.

        Returns:
          The state, and the metrics as (sum, count) over the steps; `means` divides them.
        """
        return self._many(self.frozen, state, batches, count)

    def lower(self, state: TrainState, batch: Batch) -> Any:
        """`jax.jit(...).lower` of one step, for cost analysis."""
        return self._one.lower(self.frozen, state, batch)

    @functools.cached_property
    def _one(self) -> Any:
        def one(frozen, state, batch):
            state, sums = self.function(frozen, state, batch)
            return state, means(sums)

        return jax.jit(one, donate_argnums=1)

    @functools.cached_property
    def _many(self) -> Any:
        def many(frozen, state, batches, count):
            def body(index, carry):
                state, sums = carry
                batch = jax.tree.map(lambda x: x[index], batches)
                state, added = self.function(frozen, state, batch)
                return state, jax.tree.map(jnp.add, sums, added)

            first = jax.tree.map(lambda x: x[0], batches)
            shapes = jax.eval_shape(self.function, frozen, state, first)[1]
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            # Without a loop where there is nothing to loop over: XLA's CPU backend compiles the
            # convolutions of a loop's body to code that is many times slower.
            if len(jax.tree.leaves(batches)[0]) == 1:
                return body(0, (state, zeros))
            return jax.lax.fori_loop(0, count, body, (state, zeros))

        return jax.jit(many, donate_argnums=1)


def means(sums: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Metrics from their (sum, count); not a number where nothing was counted."""
    return {name: total / count for name, (total, count) in sums.items()}


def make_train_step(
    student: Network,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    teacher: Network | None = None,
    views: Views | None = None,
    teacher_train: bool = False,
    split_gradients: bool = False,
) -> TrainStep:
    """Makes the train step of a student.

    The teacher's answers come from `batch["teacher"]` (a cached `Record`, logits, or named
    outputs) or, with `teacher=`, from its forward pass inside the step, in evaluation mode and
    outside the gradient, on the very inputs that the student sees. Nothing else differs.

    Args:
      student: the network to train; its variables come from the `TrainState`.
      objective: what to minimise.
      optimizer: an optax transformation, chained with schedules at will.
      teacher: run online if given.
      views: raw batches are rendered by them first; None if batches are ready as they are.
      teacher_train: whether the online teacher runs in training mode (batch statistics of the batch
        at hand, dropout), as in the authors' code of OFD. Its own statistics never move.
      split_gradients: whether the optimizer also gets the gradients of the terms without a teacher
        and of those with one apart, as `task_updates` and `distillation_updates`, which
        `jaxkd.training.dot` needs; costs a second backward pass.

    Returns:
      A `TrainStep`. A batch has `"inputs"` `[batch, ...]`, `"labels"` where a term wants them, and
      optionally `"where"` (bool `[batch]`, False = padding) and `"labelled"`. The metrics are
      `loss`, one entry a term, and `accuracy` on the labelled examples where labels are integers.

    Raises:
      ValueError: while tracing, before the first step: no or two sources of teacher outputs,
        missing outputs, shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> objective, optimizer = recipes.kd(alpha=1.0), optax.sgd(0.1)
      >>> step = make_train_step(student, objective, optimizer)
      >>> state = TrainState.create(student, objective, optimizer)
      >>> batch = {"inputs": jnp.eye(4), "teacher": jnp.zeros((4, 3))}
      >>> state, metrics = step(state, batch)
      >>> sorted(metrics), int(state.step)
      (['kd', 'loss'], 1)
    """

    def step_function(frozen, state, batch):
        batch = dict(views.render(batch) if views else batch)
        answers = batch.pop("teacher", None)
        step_key = jax.random.fold_in(state.key, state.step)
        student_key, connector_key = jax.random.split(step_key)
        teacher_key = jax.random.fold_in(step_key, 2)
        if teacher is not None:
            if answers is not None:
                raise ValueError(
                    "two teachers: teacher= was given and the batch carries answers of a cache"
                )
            params, state_t = frozen
            answers, _ = teacher.apply(
                params, state_t, batch["inputs"], train=teacher_train, key=teacher_key
            )
        outputs_t = jax.lax.stop_gradient(_outputs(answers))

        def losses(params):
            outputs_s, student_state = student.apply(
                params["student"],
                state.model_state["student"],
                batch["inputs"],
                train=True,
                key=student_key,
            )
            loss, terms, connector_state = objective(
                outputs_s,
                outputs_t,
                batch,
                step=state.step,
                params=params["connectors"],
                state=state.model_state["connectors"],
                train=True,
                key=connector_key,
            )
            model_state = {"student": student_state, "connectors": connector_state}
            metrics = {"loss": (loss, jnp.ones_like(loss)), **terms, **_accuracy(outputs_s, batch)}
            return objective.parts(terms, state.step), (metrics, model_state)

        def total(params):
            (task, distillation), others = losses(params)
            return task + distillation, others

        # Some transformations watch the loss, reduce_on_plateau for one.
        extra: dict[str, Any] = {}
        if split_gradients:
            _, pull_back, (sums, model_state) = jax.vjp(losses, state.params, has_aux=True)
            one, zero = jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32)
            (task,), (distillation,) = pull_back((one, zero)), pull_back((zero, one))
            gradients = jax.tree.map(jnp.add, task, distillation)
            task, distillation = _own(objective, task, distillation)
            extra = {"task_updates": task, "distillation_updates": distillation}
        else:
            gradients, (sums, model_state) = jax.grad(total, has_aux=True)(state.params)
        updates, opt_state = optax.with_extra_args_support(optimizer).update(
            gradients, state.opt_state, state.params, value=sums["loss"][0], **extra
        )
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            key=state.key,
        )
        return new_state, sums

    def logits(state, batch):
        inputs = (views.render(batch) if views else batch)["inputs"]
        params, model_state = state.params["student"], state.model_state["student"]
        return student.apply(params, model_state, inputs)[0]["logits"]

    return TrainStep(step_function, (teacher.params, teacher.state) if teacher else (), logits)


EvalStep = Callable[[PyTree, PyTree, Batch], dict[str, Any]]


def make_eval_step(network: Network, *, views: Views | None = None) -> EvalStep:
    """Makes the evaluation step of a network.

    Args:
      network: how to compute; its variables are arguments of the step.
      views: raw batches are rendered by them first.

    Returns:
      A compiled `step(params, state, batch)` that returns `"logits"` and, where the batch has
      integer labels, `"accuracy"` and `"cross_entropy"`, each as (sum, count) over the examples
      that are labelled and not padding: add them up over batches and hosts, then divide.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> step = make_eval_step(network)
      >>> batch = {"inputs": jnp.eye(3), "labels": jnp.array([0, 1, 1])}
      >>> correct, count = step(network.params, network.state, batch)["accuracy"]
      >>> float(correct), float(count)
      (2.0, 3.0)
    """

    @jax.jit
    def step(params, state, batch):
        batch = views.render(batch) if views else batch
        logits = network.apply(params, state, batch["inputs"], train=False)[0]["logits"]
        results: dict[str, Any] = {"logits": logits}
        if "labels" in batch and jnp.issubdtype(batch["labels"].dtype, jnp.integer):
            labels, where = batch["labels"], counted(batch)
            hits = jnp.argmax(logits, -1) == labels
            results["accuracy"] = masked_sum_and_count(hits, where)
            results["cross_entropy"] = masked_sum_and_count(cross_entropy(logits, labels), where)
        return results

    return step


def _own(objective: Objective, task: PyTree, distillation: PyTree) -> tuple[PyTree, PyTree]:
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


def _outputs(answers: Any) -> dict[str, Any] | None:
    if answers is None:
        return None
    if hasattr(answers, "decode"):  # a record of a cache, or of several joined
        return dict(answers.decode())
    return dict(answers) if isinstance(answers, Mapping) else {"logits": answers}


def _accuracy(outputs: Mapping[str, jax.Array], batch: Batch) -> Sums:
    if "labels" not in batch or not jnp.issubdtype(batch["labels"].dtype, jnp.integer):
        return {}
    hits = jnp.argmax(outputs["logits"], axis=-1) == batch["labels"]
    return {"accuracy": masked_sum_and_count(hits, counted(batch))}
