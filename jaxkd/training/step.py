"""The compiled train step: what it knows, how its state begins, and how it is called."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxkd.data._kinds import check_batch
from jaxkd.networks import Network, PyTree
from jaxkd.networks._architecture import describe
from jaxkd.networks._arguments import check_kind
from jaxkd.networks._kinds import check_network
from jaxkd.objective import Objective, is_traced
from jaxkd.training._arrays import describe_arrays, differences
from jaxkd.training._gradients import Batch
from jaxkd.training._metric_sums import MetricSums, SumsAndCounts
from jaxkd.training.partitioning import Partitioning
from jaxkd.training.state import TrainState, Variables, create_state, initial_variables
from jaxkd.views import Views

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainStep:
    """A compiled train step, `step(state, batch) -> (state, metrics)`.

    The memory of the state is reused. `step.init()` creates the first state.

    Attributes:
      function: pure function `(frozen, state, batch) -> (state, sums)`, the metrics as
        (sum, count).
      frozen: the variables that the step uses and never trains, those of an online teacher. They
        are an argument rather than a constant, which the compiler would copy into the program.
      logits: function `(state, batch) -> array` that returns the student's logits, or None of a
        student without them; their shape is checked against the data before training.
      student: the network that is trained; in a population, the first member's.
      objective: what is minimized; in a population, the first member's.
      optimizer: the optax transformation; in a population, the first member's.
      partitioning: placement of arrays on a mesh; None for one device.
      members: number of students that the state holds, None for a single one.
      vocab_sizes: number of tokens that each of the networks has embeddings for, as far as it is
        known; checked against the data before training.
      views: how the step renders a batch, None where it does not; checked against those of the
        batches before training.
      teacher: the online teacher, None where batches bring its outputs or no term needs one.
      options: what else decides what a step computes, as plain data: options of `make_train_step`
        and the numbers of a population's members.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, make_train_step, recipes
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.zeros((3, 3)))
      >>> step = make_train_step(student, recipes.labels(), optax.sgd(0.1))
      >>> batch = {"inputs": jnp.eye(3), "labels": jnp.arange(3)}
      >>> state, metrics = step(step.init(), batch)
      >>> int(state.step), round(float(metrics["loss"]), 4)
      (1, 1.0986)
    """

    function: Callable[[PyTree, TrainState, Batch], tuple[TrainState, SumsAndCounts]]
    frozen: PyTree
    logits: Callable[[TrainState, Batch], jax.Array | None]
    student: Network
    objective: Objective
    optimizer: optax.GradientTransformation
    partitioning: Partitioning | None = None
    members: int | None = None
    vocab_sizes: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    views: Views | None = None
    teacher: Network | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        teacher = "" if self.teacher is None else f", teacher={self.teacher!r}"
        members = "" if self.members is None else f", {self.members} members"
        return f"TrainStep({self.student!r}, {self.objective!r}{teacher}{members})"

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
            the step's own. Losses, names of outputs, and constant weights and temperatures are
            those of the step; schedules are not compared.

        Returns:
          The state at step 0. The networks' arrays are copied, since a step reuses the memory of
          its state.

        Raises:
          TypeError: a student that is no `Network`, or an objective that is no `Objective`.
          ValueError: the variables of the student or of the connectors differ from the step's in
            more than values, the student has another architecture, or the objective has other
            terms, which the step does not minimize; the message names both sides. Or the step is
            that of a `Population`, whose `init` creates the state of all members.

        Example:
          >>> import jax.numpy as jnp, jaxkd, optax
          >>> from jaxkd import from_function, recipes
          >>> linear = lambda params, inputs: inputs @ params
          >>> make_student = lambda classes: from_function(linear, jnp.ones((4, classes)))
          >>> step = jaxkd.make_train_step(make_student(3), recipes.labels(), optax.sgd(0.1))
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
        check_network("student", student)
        check_kind("objective", objective, Objective, "write recipes.kd()")
        if list(objective.terms) != list(self.objective.terms):
            raise ValueError(
                f"the objective has the terms {list(objective.terms)}, the step minimizes "
                f"{list(self.objective.terms)}: make another step for it with make_train_step"
            )
        _check_variables(
            initial_variables(student, objective),
            initial_variables(self.student, self.objective),
        )
        if objective is not self.objective:
            _check_terms(objective, self.objective)
        if student.architecture != self.student.architecture:
            raise ValueError(
                "the student has another architecture than the step was made for: only the "
                "variables' values may differ; make another step for it with make_train_step.\n"
                f"in the step: {self.student.architecture}\ngiven: {student.architecture}"
            )
        return self.place(create_state(student, objective, self.optimizer, seed=seed))

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Makes one step.

        Args:
          state: the state; its memory is reused.
          batch: the batch; on a mesh each process gives its own rows of it.

        Returns:
          The new state, and the means of the metrics.
        """
        check_kind("state", state, TrainState, "write state = step.init(), step(state, batch)")
        check_batch(batch)
        new, metrics = self._one(self.frozen, state.key, _arrays(state), self.put(batch))
        return TrainState(key=state.key, **new), metrics

    def many(
        self,
        state: TrainState,
        batches: Batch,
        count: int | jax.Array,
        sums: MetricSums | None = None,
    ) -> tuple[TrainState, MetricSums]:
        """Makes several steps in one call of one compiled program.

        Args:
          state: the state; its memory is reused.
          batches: batches stacked along a new first axis, placed by `put`.
          count: number of them to use, from the first on; traced, so that fewer steps at the end of
            a log interval compile nothing anew.
          sums: the metrics that earlier calls returned, to add to; None for none yet.

        Returns:
          The new state, and the metrics as sums and counts over the steps; `sums.means()` divides
          them.
        """
        sums = self._no_sums(state, batches) if sums is None else sums
        arrays = _arrays(state)
        new, sums = self._many(self.frozen, state.key, arrays, batches, count, sums)
        return TrainState(key=state.key, **new), sums

    def put(self, batch: Any, *, leading: int = 0) -> Any:
        """Places a batch where the step expects it; see `Partitioning.put`.

        Args:
          batch: arrays on the host.
          leading: number of axes before that of the examples.

        Returns:
          The batch on the mesh, or as it is where there is none.
        """
        return self.partitioning.put(batch, leading=leading) if self.partitioning else batch

    def put_sums(self, sums: MetricSums) -> MetricSums:
        """Places metrics where `many` expects them, whole on every device.

        Args:
          sums: metrics on the host.

        Returns:
          The metrics on the mesh, or as they are where there is none.
        """
        return self.put(sums, leading=sums.values.ndim)

    def place(self, state: TrainState) -> TrainState:
        """Places a state where the step expects it; see `Partitioning.place`.

        Args:
          state: a state that `init` did not create, such as one read from elsewhere.

        Returns:
          A copy on the mesh, or the state as it is where there is none.
        """
        return self.partitioning.place(state) if self.partitioning else state

    def lower(self, state: TrainState, batch: Batch) -> Any:
        """Lowers one step for cost analysis.

        Args:
          state: the state, or its shapes.
          batch: the batch, or its shapes.

        Returns:
          What `jax.jit(…).lower` returns.
        """
        return self._one.lower(self.frozen, state.key, _arrays(state), batch)

    @functools.cached_property
    def finite(self) -> Callable[[PyTree], jax.Array]:
        """Compiled function that says whether all parameters are finite, for each member."""
        first = 0 if self.members is None else 1

        def finite(params):
            flags = [jnp.isfinite(x).all(axis=tuple(range(first, x.ndim))) for x in params]
            return functools.reduce(jnp.logical_and, flags)

        compiled = self.partitioning.jit(finite) if self.partitioning else jax.jit(finite)
        return lambda params: compiled(jax.tree.leaves(params))

    def _jit(self, function: Callable[..., Any]) -> Any:
        """Compiles a function of `(frozen, key, arrays, …)` that returns the arrays anew first."""
        if self.partitioning is None:
            return jax.jit(function, donate_argnums=2)
        return self.partitioning.jit(function, updates=2, donate_argnums=2)

    @functools.cached_property
    def _step(self) -> Callable[..., tuple[dict[str, PyTree], SumsAndCounts]]:
        def step(frozen, key, arrays, batch):
            # The key is no output of the program: each call would wrap its numbers into a new key
            # object, in Python, with checks.
            state, sums = self.function(frozen, TrainState(key=key, **arrays), batch)
            return _arrays(state), sums

        # Traced once for all programs that it becomes a part of, and a part like any other there.
        return jax.jit(step, inline=True)

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
                return arrays, jax.tree.map(jnp.add, sums, MetricSums.from_step(added))

            # Without a loop where there is nothing to loop over: XLA's CPU backend compiles the
            # convolutions of a loop's body to code that is many times slower.
            if len(jax.tree.leaves(batches)[0]) == 1:
                return body(0, (arrays, sums))
            return jax.lax.fori_loop(0, count, body, (arrays, sums))

        return self._jit(many)

    def _no_sums(self, state: TrainState, batches: Batch) -> MetricSums:
        """Returns the metrics of no step, created once for each structure of batches."""
        structure = jax.tree.structure(batches)
        if structure not in self._zeros:

            def step(frozen, key, arrays, batch):
                arrays, sums = self._step(frozen, key, arrays, batch)
                return arrays, MetricSums.from_step(sums)

            batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batches)
            # Without shardings, which networks need not fit on Explicit axes.
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
            _, sums = self._jit(step).eval_shape(self.frozen, shapes.key, _arrays(shapes), batch)
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)
            self._zeros[structure] = self.put_sums(zeros)
        return self._zeros[structure]

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


def _check_terms(given: Objective, expected: Objective) -> None:
    """Refuses terms of the same names that the step does not minimize."""
    one, two = _describe_terms(given), _describe_terms(expected)
    if differing := differences(one, two, "given", "in the step"):
        raise ValueError(
            f"the objective differs from the one that the step minimizes ({differing}): make "
            "another step for it with make_train_step"
        )


def _describe_terms(objective: Objective) -> dict[str, str]:
    described = {}
    for name, term in objective.terms.items():
        described[f"loss of {name}"] = describe(term.loss)
        described[f"outputs of {name}"] = f"{term.student} and {term.teacher}"
        for what, value in (("weight", term.weight), ("temperature", term.temperature)):
            constant = not callable(value) and not is_traced(value)
            # Schedules have no description that two equal ones share.
            described[f"{what} of {name}"] = str(value) if constant else "a schedule"
    return described


def _arrays(state: TrainState) -> dict[str, PyTree]:
    """Returns what a step changes, all but the key, under the names of a partitioning's rules."""
    return {
        "step": state.step,
        "params": state.params,
        "model_state": state.model_state,
        "opt_state": state.opt_state,
    }
