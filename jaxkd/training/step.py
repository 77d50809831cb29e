"""The student's train step: pure, compiled, the same online and cached, on one device or many."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxkd.networks import Network, PyTree
from jaxkd.objective import Objective
from jaxkd.training._arrays import describe_arrays, differences
from jaxkd.training._gradients import Batch, DistillationLoss, StepKeys, Sums, own_parts
from jaxkd.training._metric_sums import MetricSums
from jaxkd.training.partitioning import Partitioning
from jaxkd.training.state import TrainState, Variables, create_state, initial_variables
from jaxkd.views import Views

Metrics = dict[str, jax.Array]


class BatchTransform(Protocol):
    """What a step makes of its batch first, as `jaxkd.strategies.on_policy` does."""

    def __call__(
        self, params: PyTree, state: PyTree, batch: Batch, *, step: jax.Array, key: jax.Array
    ) -> Batch:
        """The new batch, from the student's present variables, its step, and a key of the step."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainStep:
    """`step(state, batch) -> (state, metrics)`, compiled; the state's memory is reused.

    Attributes:
      function: the pure function `(frozen, state, batch) -> (state, sums)`, the metrics as
        (sum, count).
      frozen: what the step uses and never trains, the online teacher's variables. An argument
        rather than a constant, which the compiler would copy into the program.
      logits: the student's logits for a batch, `(state, batch) -> array`; their shape is checked
        against the data before training. None comes back of a student without logits.
      student: the network that is trained; of several members, the first one's.
      objective: what is minimized, likewise.
      optimizer: the optax transformation, likewise.
      partitioning: where arrays lie; None for one device.
      members: how many students the state holds, None for a single one.
      vocab_sizes: how many tokens each of the networks has embeddings for, as far as it is known;
        checked against the data before training.
    """

    function: Callable[[PyTree, TrainState, Batch], tuple[TrainState, Sums]]
    frozen: PyTree
    logits: Callable[[TrainState, Batch], jax.Array | None]
    student: Network
    objective: Objective
    optimizer: optax.GradientTransformation
    partitioning: Partitioning | None = None
    members: int | None = None
    vocab_sizes: Mapping[str, int | None] = dataclasses.field(default_factory=dict)

    def init(
        self,
        seed: int = 0,
        *,
        student: Network | None = None,
        objective: Objective | None = None,
    ) -> TrainState:
        """Creates the state before the first step, placed where the step expects it.

        Args:
          seed: seed of the root key, for dropout and the like.
          student: another student of the same architecture to start from, one of another seed for
            instance; None for the step's own.
          objective: the same objective with other initial variables of its connectors; None for
            the step's own.

        Returns:
          The state at step 0. The networks' arrays are copied, since a step reuses the memory of
          its state.

        Raises:
          ValueError: the variables of the student or of the connectors differ from the step's in
            more than values, the message names both sides; or the step is that of a `Population`,
            whose `init` creates the state of all members.

        Example:
          >>> import jax.numpy as jnp, optax
          >>> from jaxkd import from_function, recipes
          >>> linear = lambda params, inputs: inputs @ params
          >>> make_student = lambda classes: from_function(linear, jnp.ones((4, classes)))
          >>> step = make_train_step(make_student(3), recipes.labels(), optax.sgd(0.1))
          >>> int(step.init().step)
          0
          >>> step.init(student=make_student(5))
          Traceback (most recent call last):
            ...
          ValueError: ... (params/student: float32[4, 5] given, float32[4, 3] in the step): ...
        """
        if self.members is not None:
            raise ValueError(
                "this is the step of a population, whose members have seeds of their own: create "
                "their state by `population.init()`"
            )
        student = self.student if student is None else student
        objective = self.objective if objective is None else objective
        _check_variables(
            initial_variables(student, objective),
            initial_variables(self.student, self.objective),
        )
        return self.place(create_state(student, objective, self.optimizer, seed=seed))

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step; a batch on the host is put on the mesh, each process giving its own rows."""
        new, metrics = self._one(self.frozen, state.key, _arrays(state), self.put(batch))
        return TrainState(key=state.key, **new), metrics

    def many(
        self,
        state: TrainState,
        batches: Batch,
        count: int | jax.Array,
        sums: MetricSums | None = None,
    ) -> tuple[TrainState, MetricSums]:
        """Several steps in one call of one compiled program.

        Args:
          state: the state; its memory is reused.
          batches: batches stacked along a new first axis, put where they belong by `put`.
          count: how many of them to use, from the first on; traced, so that a shorter last stretch
            compiles nothing anew.
          sums: what earlier calls returned, to go on adding to; None for nothing yet.

        Returns:
          The state, and the metrics as sums and counts over the steps; `sums.means()` divides them.
        """
        sums = self._no_sums(state, batches) if sums is None else sums
        arrays = _arrays(state)
        new, sums = self._many(self.frozen, state.key, arrays, batches, count, sums)
        return TrainState(key=state.key, **new), sums

    def put(self, batch: Any, *, leading: int = 0) -> Any:
        """A batch where the step wants it; see `Partitioning.put`."""
        return self.partitioning.put(batch, leading=leading) if self.partitioning else batch

    def put_sums(self, sums: MetricSums) -> MetricSums:
        """Sums from the host where `many` wants them, whole on every device."""
        return self.put(sums, leading=sums.values.ndim)

    def place(self, state: TrainState) -> TrainState:
        """A state where the step wants it; see `Partitioning.place`."""
        return self.partitioning.place(state) if self.partitioning else state

    def lower(self, state: TrainState, batch: Batch) -> Any:
        """`jax.jit(...).lower` of one step, for cost analysis."""
        return self._one.lower(self.frozen, state.key, _arrays(state), batch)

    @functools.cached_property
    def finite(self) -> Callable[[PyTree], jax.Array]:
        """Whether all parameters are numbers; of several members, for each of them. Compiled."""
        first = 0 if self.members is None else 1

        def finite(params):
            each = [jnp.isfinite(x).all(axis=tuple(range(first, x.ndim))) for x in params]
            return functools.reduce(jnp.logical_and, each)

        compiled = self.partitioning.jit(finite) if self.partitioning else jax.jit(finite)
        return lambda params: compiled(jax.tree.leaves(params))

    def _jit(self, function: Callable[..., Any]) -> Any:
        """Compiles a function of `(frozen, key, arrays, …)` that returns the arrays anew first."""
        if self.partitioning is None:
            return jax.jit(function, donate_argnums=2)
        return self.partitioning.jit(function, updates=2, donate_argnums=2)

    def _step(
        self, frozen: PyTree, key: jax.Array, arrays: dict[str, PyTree], batch: Batch
    ) -> tuple[dict[str, PyTree], Sums]:
        # The key stays as it is: a program that returned it would make a new one in each call, in
        # Python, with checks.
        state, sums = self.function(frozen, TrainState(key=key, **arrays), batch)
        return _arrays(state), sums

    @functools.cached_property
    def _one(self) -> Any:
        def one(frozen, key, arrays, batch):
            arrays, sums = self._step(frozen, key, arrays, batch)
            return arrays, {name: total / count for name, (total, count) in sums.items()}

        return self._jit(one)

    @functools.cached_property
    def _many(self) -> Any:
        def many(frozen, key, arrays, batches, count, sums):
            def body(index, carry):
                arrays, sums = carry
                batch = jax.tree.map(lambda x: x[index], batches)
                arrays, added = self._step(frozen, key, arrays, batch)
                return arrays, jax.tree.map(jnp.add, sums, MetricSums.of(added))

            # Without a loop where there is nothing to loop over: XLA's CPU backend compiles the
            # convolutions of a loop's body to code that is many times slower.
            if len(jax.tree.leaves(batches)[0]) == 1:
                return body(0, (arrays, sums))
            return jax.lax.fori_loop(0, count, body, (arrays, sums))

        return self._jit(many)

    def _no_sums(self, state: TrainState, batches: Batch) -> MetricSums:
        """The metrics of no step, made once for each kind of batch."""
        kind = jax.tree.structure(batches)
        if kind not in self._zeros:

            def step(frozen, key, arrays, batch):
                arrays, sums = self._step(frozen, key, arrays, batch)
                return arrays, MetricSums.of(sums)

            batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batches)
            plain = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
            shapes = self._jit(step).eval_shape(self.frozen, plain.key, _arrays(plain), batch)[1]
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            self._zeros[kind] = self.put_sums(zeros)
        return self._zeros[kind]

    @functools.cached_property
    def _zeros(self) -> dict[Any, MetricSums]:
        return {}


def _check_variables(given: Variables, expected: Variables) -> None:
    """Refuses variables that the step was not made for."""
    one, two = (
        describe_arrays(dict(zip(("params", "model_state"), variables, strict=True)))
        for variables in (given, expected)
    )
    if differing := differences(one, two, "given", "in the step"):
        raise ValueError(
            "the student, or the connectors of the objective, have other variables than the step "
            f"was made for ({differing}): make another step for them with make_train_step"
        )


def _arrays(state: TrainState) -> dict[str, PyTree]:
    """What a step changes: all but the key, under the names that rules of a partitioning know."""
    return {
        "step": state.step,
        "params": state.params,
        "model_state": state.model_state,
        "opt_state": state.opt_state,
    }


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

    The teacher's answers come from `batch["teacher"]` (a cached `Record`, logits, or named
    outputs) or, with `teacher=`, from its forward pass inside the step, in evaluation mode and
    outside the gradient, on the very inputs that the student sees. Nothing else differs.

    Args:
      student: the network to train; its variables come from the `TrainState`.
      objective: what to minimize.
      optimizer: an optax transformation, chained with schedules at will.
      teacher: run online if given.
      views: raw batches are rendered by them first; None if batches are ready as they are.
      teacher_train: whether the online teacher runs in training mode (batch statistics of the batch
        at hand, dropout), as in the authors' code of OFD. Its own statistics never move.
      split_gradients: whether the optimizer also gets the gradients of the terms without a teacher
        and of those with one apart, as `task_updates` and `distillation_updates`, which
        `jaxkd.training.dot` needs; costs a second backward pass.
      micro_batches: parts that a batch goes through the networks in, one after the other, for
        batches that do not fit in memory. The objective sees the outputs of the whole batch, so
        that its value and gradient are those of the batch whatever the losses couple; what it costs
        is one more forward pass. Dropout draws anew for each part.
      batch_transform: changes the rendered batch before anything else sees it, for instance by
        what the student generates (`jaxkd.strategies.on_policy`). The teacher must be online.
      partitioning: where state, teacher and batches lie on a mesh of devices; lay the state with
        `step.place`. None for one device.

    Returns:
      A `TrainStep`. A batch has `"inputs"` `[batch, ...]`, `"labels"` where a term wants them, and
      optionally `"where"` (bool `[batch]`, False = padding) and `"labeled"`. The metrics are
      `loss`, one entry a term, and `accuracy` on the labeled examples where labels are integers
      (and the student has logits, see `jaxkd.networks.without_logits`);
      under `optax.apply_if_finite` also `skipped`, the share of updates that were not made, and
      all others are of the steps that were.

    Raises:
      ValueError: fewer than one part; while tracing, before the first step: no or two sources of
        teacher outputs, missing outputs, shapes that do not fit, micro-batches of a network with
        batch statistics, a cache's answers to a batch that is rewritten.

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

    if micro_batches < 1:
        raise ValueError(f"micro_batches must be at least 1, not {micro_batches}")
    lesson = DistillationLoss(student, objective, teacher, teacher_train, micro_batches)

    def step_function(frozen, state, batch):
        batch = dict(views.render(batch) if views else batch)
        answers = batch.pop("teacher", None)
        if teacher is not None and answers is not None:
            raise ValueError(
                "two teachers: teacher= was given and the batch carries answers of a cache"
            )
        if batch_transform is not None and answers is not None:
            raise ValueError(
                "the batch carries a cache's answers to the data, and batch_transform= puts other "
                "inputs, such as the student's own writing, in their place: let teacher= answer "
                "online, or leave batch_transform out"
            )
        answers = jax.lax.stop_gradient(as_outputs(answers))
        step_key = jax.random.fold_in(state.key, state.step)
        student_key, connector_key = jax.random.split(step_key)
        if batch_transform is not None:
            variables = state.params["student"], state.model_state["student"]
            transform_key = jax.random.fold_in(step_key, 3)
            batch = dict(batch_transform(*variables, batch, step=state.step, key=transform_key))
        keys = StepKeys(student_key, jax.random.fold_in(step_key, 2), connector_key)
        pull_back, sums, model_state = lesson.pull_back(frozen, state, batch, answers, keys)
        one, zero = jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32)
        # Some transformations watch the loss, reduce_on_plateau for one.
        extra: dict[str, Any] = {"value": sums["loss"][0]}
        if split_gradients:
            task, distillation = pull_back((one, zero)), pull_back((zero, one))
            gradients = jax.tree.map(jnp.add, task, distillation)
            task, distillation = own_parts(objective, task, distillation)
            extra |= {"task_updates": task, "distillation_updates": distillation}
        else:
            gradients = pull_back((one, one))
        updates, opt_state = optax.with_extra_args_support(optimizer).update(
            gradients, state.opt_state, state.params, **extra
        )
        model_state, sums = _guarded(opt_state, state.model_state, model_state, sums)
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
    sizes = vocab_sizes(student, teacher)
    return TrainStep(
        step_function,
        frozen,
        logits,
        student,
        objective,
        optimizer,
        partitioning,
        vocab_sizes=sizes,
    )


def vocab_sizes(student: Network, teacher: Network | None) -> dict[str, int | None]:
    """How many tokens student and online teacher have embeddings for."""
    return {
        "student": student.vocab_size,
        "teacher": None if teacher is None else teacher.vocab_size,
    }


def _guarded(opt_state: PyTree, old: PyTree, new: PyTree, sums: Sums) -> tuple[PyTree, Sums]:
    """What an update that `optax.apply_if_finite` did not make leaves alone besides parameters."""
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "last_finite")
    if not found:
        return new, sums
    made = functools.reduce(jnp.logical_and, (value for _, value in found))
    new = jax.tree.map(lambda a, b: jnp.where(made, b, a), old, new)
    counts = {
        name: (jnp.where(made, total, 0), jnp.where(made, count, 0))
        for name, (total, count) in sums.items()
    }
    skipped = 1 - made.astype(jnp.float32)
    return new, {**counts, "skipped": (skipped, jnp.ones_like(skipped))}


def as_outputs(answers: Any) -> dict[str, Any] | None:
    """Named outputs of a teacher: of a record of a cache, of logits; None stays None."""
    if answers is None:
        return None
    if hasattr(answers, "decode"):  # a record of a cache, or of several joined
        return dict(answers.decode())
    return dict(answers) if isinstance(answers, Mapping) else {"logits": answers}
