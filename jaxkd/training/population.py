"""Many students at once: one compiled step, one pass over the data, numbers of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxkd.data import Dataset, eval_batches
from jaxkd.data._fields import labeled_rows
from jaxkd.metrics.in_step import Metric
from jaxkd.networks import Network, PyTree
from jaxkd.networks._arguments import suggestion
from jaxkd.objective import Objective
from jaxkd.training._evaluated import Evaluated
from jaxkd.training._member_evaluation import MemberEvaluation, as_key
from jaxkd.training._optimizers import check_optimizer
from jaxkd.training._stacked import AXES, member_of, on_host, partition_members, stack
from jaxkd.training.make_step import as_outputs, check_kinds, make_train_step, vocab_sizes
from jaxkd.training.members import SEED, MemberFactory, as_arrays, check_members
from jaxkd.training.state import TrainState, create_state, initial_variables
from jaxkd.training.step import TrainStep
from jaxkd.views import Views


class Population:
    """Students that train together and differ in seed, temperature, weights, or any number.

    One compiled program makes a step of all of them. Batches are read, rendered and decoded once,
    and an online teacher makes one forward pass, whatever the number of members; all members see
    the same batches in the same order. Each one ends where it would have ended alone, trained by
    `make_train_step` with its own numbers and its own seed; a term whose weight is 0 for one member
    (labels, at alpha 1) is computed all the same, so that batches need labels. The state is an
    ordinary `TrainState` whose arrays have the members as their first axis, so that `fit`,
    checkpoints and logs work:
    `fit(population.step, population.init(), …, config={"members": population.members})`.

    Args:
      make_student: function from a member's seed to a new network; the networks may differ in the
        values of their variables alone.
      objective: an `Objective` for all, or a function of numbers of the members by the names of its
        parameters: `lambda alpha, temperature: recipes.kd(alpha=alpha, temperature=temperature)`,
        or `recipes.kd` itself, whose defaults hold for what the members do not name.
      optimizer: an optax transformation for all, or a function likewise, as
        `lambda learning_rate: optax.chain(optax.adamw(schedule), optax.scale(learning_rate))` with
        a schedule whose peak is 1. Numbers are traced, so that a function may compute with them but
        not branch on their values, as `optax.warmup_cosine_decay_schedule` does on its peak.
      members: name → one number a member; `grid` makes all combinations. `seed` is that of the
        student and of the root key, by default 0, 1, …; objective and optimizer may take it too, to
        initialize the variables of their connectors, and for nothing else.
      views: raw batches are rendered by them first; None if batches are rendered already.
      teacher: the online teacher, with one forward pass for all; None for none.
      teacher_train: see `make_train_step`.
      split_gradients: see `make_train_step`.
      micro_batches: see `make_train_step`.
      mesh: devices over which the members are spread, each with the whole batch; None for one.

    Attributes:
      members: the numbers, `seed` among them.
      student: the architecture of every member, with the variables of the first one.
      partitioning: placement of the members on the mesh, None for one device.

    Raises:
      TypeError: an argument that is not a number, a network, an objective or an optimizer.
      ValueError: no member, lengths that differ, a name that neither function takes or that has no
        number, numbers that an objective or an optimizer refuses, students of different
        architectures, members that do not divide by the devices; before anything is compiled.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, recipes
      >>> from jaxkd.training import grid
      >>> linear = lambda params, inputs: inputs @ params
      >>> population = Population(
      ...     lambda seed: from_function(linear, jnp.full((4, 3), float(seed))),
      ...     recipes.kd,
      ...     optax.sgd(0.1),
      ...     grid(alpha=[0.5, 1.0], temperature=[1.0, 2.0, 4.0]),
      ... )
      >>> batch = {"inputs": jnp.eye(4), "teacher": jnp.zeros((4, 3)), "labels": jnp.arange(4) % 3}
      >>> state, metrics = population.step(population.init(), batch)
      >>> len(population), int(state.step), metrics["loss"].shape
      (6, 1, (6,))
      >>> population.numbers(5)
      {'alpha': 1.0, 'temperature': 4.0, 'seed': 5}
    """

    def __init__(
        self,
        make_student: Callable[[int], Network],
        objective: Objective | Callable[..., Objective],
        optimizer: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
        members: Mapping[str, Sequence[float]],
        *,
        views: Views | None = None,
        teacher: Network | None = None,
        teacher_train: bool = False,
        split_gradients: bool = False,
        micro_batches: int = 1,
        mesh: Mesh | None = None,
    ):
        self.members = check_members(members)
        self._objective: MemberFactory[Objective] = MemberFactory.from_source(
            "objective", objective, Objective, self.members
        )
        self._optimizer: MemberFactory[optax.GradientTransformation] = MemberFactory.from_source(
            "optimizer", optimizer, optax.GradientTransformation, self.members
        )
        accepted = {*self._objective.accepts, *self._optimizer.accepts} - {SEED}
        if unknown := [name for name in self.members if name not in {SEED, *accepted}]:
            raise ValueError(
                f"neither function takes the members' {unknown}"
                f"{suggestion(unknown[0], accepted)} Objective and optimizer take "
                f"{sorted(accepted)}. Make one of them a function with such a parameter"
            )
        self.partitioning = partition_members(mesh, len(self)) if mesh is not None else None
        # With their concrete numbers, so that a bad one is refused here; a step traces them.
        self._objectives = self._objective.for_members(self.members)
        self._optimizers = self._optimizer.for_members(self.members)
        self._make_student = make_student
        self.student = make_student(self.members[SEED][0])
        check_kinds(self.student, self._objectives[0], self._optimizers[0], teacher, views)
        variables = initial_variables(self.student, self._objectives[0])
        check_optimizer(self._optimizers[0], self._objectives[0], variables[0])
        self._views, self._teacher, self._micro_batches = views, teacher, micro_batches
        self._evals: dict[Any, Any] = {}
        options = {"teacher_train": teacher_train, "split_gradients": split_gradients}
        self._options: dict[str, Any] = options

    def __len__(self) -> int:
        """Returns the number of members."""
        return len(self.members[SEED])

    def numbers(self, index: int) -> dict[str, float]:
        """Returns the numbers of one member.

        Args:
          index: number of the member, from 0 to N - 1.

        Returns:
          Name → number, `seed` among them.

        Raises:
          IndexError: there is no such member.
        """
        self._check_index(index)
        return {name: values[index] for name, values in self.members.items()}

    @functools.cached_property
    def step(self) -> TrainStep:
        """The step of all members; its metrics are `[N]`, one number a member."""
        teacher: Any = (self._teacher.params, self._teacher.state) if self._teacher else ()
        numbers: PyTree = as_arrays(self.members)
        if self.partitioning:
            numbers = self.partitioning.place({"members": numbers})["members"]
            teacher = self.partitioning.place_teacher(*teacher) if teacher else ()

        def function(frozen, state, batch):
            self._check_targets(batch)
            teacher, numbers = frozen
            together = jax.vmap(self._one, in_axes=(None, 0, AXES, None), out_axes=(AXES, 0))
            state, sums = together(teacher, numbers, state, batch)
            return (self.partitioning.constrain(state) if self.partitioning else state), sums

        def logits(state, batch):
            inputs = (self._views.render(batch) if self._views else batch)["inputs"]

            def one(params, model_state):
                return self.student.apply(params, model_state, inputs)[0].get("logits")

            return jax.vmap(one)(state.params["student"], state.model_state["student"])

        return TrainStep(
            function,
            (teacher, numbers),
            logits,
            self.student,
            self._objectives[0],
            self._optimizers[0],
            self.partitioning,
            len(self),
            vocab_sizes(self.student, self._teacher),
            self._views,
            self._teacher,
            {"members": self.members, **self._options},
        )

    def init(self) -> TrainState:
        """Creates the state before the first step, every array with the members as its first axis.

        Returns:
          The stacked state, placed on the step's mesh where there is one.

        Raises:
          ValueError: students whose architectures, or connectors and optimizers whose variables,
            differ in more than values; names the two members.
        """
        states = []
        for index, seed in enumerate(self.members[SEED]):
            student = self._make_student(seed) if index else self.student
            if student.architecture != self.student.architecture:
                raise ValueError(
                    f"make_student gives member {index} another architecture than member 0: only "
                    f"the variables' values may differ.\n{self.student.architecture}\n"
                    f"{student.architecture}"
                )
            objective, optimizer = self._objectives[index], self._optimizers[index]
            fresh = create_state(student, objective, optimizer, seed=seed)
            states.append(jax.tree.map(on_host, fresh))
        stacked = stack(states)
        return self.step.place(stacked) if self.partitioning else jax.tree.map(jnp.asarray, stacked)

    def member(self, state: TrainState, index: int) -> TrainState:
        """Returns one member's state, as if it had trained alone.

        Args:
          state: state of the population.
          index: number of the member, from 0 to N - 1.

        Returns:
          A state without the members' axis.

        Raises:
          IndexError: there is no such member.
        """
        self._check_index(index)
        return self._pick(state, index)

    def network(self, state: TrainState, index: int) -> Network:
        """Returns one member as a network.

        Args:
          state: state of the population.
          index: number of the member, from 0 to N - 1.

        Returns:
          The student with copies of the member's variables.

        Raises:
          IndexError: there is no such member.
        """
        return self.member(state, index).network(self.student)

    def evaluator(
        self,
        dataset: Dataset,
        metrics: Mapping[str, Metric] | None = None,
        *,
        views: Views | None = None,
        batch_size: int = 512,
    ) -> Callable[[TrainState], dict[str, np.ndarray]]:
        """Makes the function that `fit` takes as `evaluate`, for all members at once.

        Args:
          dataset: the examples.
          metrics: name → metric, as of `make_eval_step`; None for those that the labels call for.
          views: the examples are rendered by them; None if they are ready as they are.
          batch_size: number of examples in a batch.

        Returns:
          A function from the population's state to `{"accuracy": …, "cross_entropy": …}`, or the
          chosen metrics, float64 `[N]`, over the labeled examples.

        Raises:
          ValueError: no example is labeled, and no metrics are chosen.
        """
        if metrics is None and not labeled_rows(dataset.labels).any():
            raise ValueError(f"{dataset} has no labeled example to evaluate on")
        evaluation = self._evaluation(views, metrics)

        def evaluate(state: TrainState) -> dict[str, np.ndarray]:
            return evaluation.evaluate(state, eval_batches(dataset, batch_size, views=views))

        known = Evaluated(self.student, views, dataset, metrics)
        evaluate.evaluated = known  # type: ignore[attr-defined]
        return evaluate

    def predict(
        self,
        state: TrainState,
        dataset: Dataset,
        *,
        views: Views | None = None,
        batch_size: int = 512,
    ) -> np.ndarray:
        """Computes the logits of all members on all examples.

        Args:
          state: state of the population.
          dataset: the examples.
          views: the examples are rendered by them; None if they are ready as they are.
          batch_size: number of examples in a batch.

        Returns:
          float32 `[N, examples, …, num_classes]`, in the order of the examples' ids.

        Raises:
          ValueError: students without logits.
        """
        batches = eval_batches(dataset, batch_size, views=views)
        return self._evaluation(views).predict(state, batches)

    def _one(self, teacher, numbers, state, batch):
        """Makes the step of one member, with traced numbers."""
        # Any member's seed will do: what depends on its own is in its state.
        numbers = {**numbers, SEED: self.members[SEED][0]}
        step = make_train_step(
            self.student,
            self._objective(numbers),
            self._optimizer(numbers),
            teacher=self._teacher,
            views=self._views,
            micro_batches=self._micro_batches,
            **self._options,
        )
        return step.function(teacher, state, batch)

    def _evaluation(
        self, views: Views | None, metrics: Mapping[str, Metric] | None = None
    ) -> MemberEvaluation:
        """Returns the compiled evaluation; equal metrics share one."""
        chosen = None if metrics is None else tuple((n, as_key(m)) for n, m in metrics.items())
        if (views, chosen) not in self._evals:
            made = MemberEvaluation(self.student, views, metrics, self._jit, self.step.put)
            self._evals[views, chosen] = made
        return self._evals[views, chosen]

    @functools.cached_property
    def _pick(self) -> Any:
        return self._jit(member_of)

    def _jit(self, function: Callable[..., Any]) -> Any:
        return self.partitioning.jit(function) if self.partitioning else jax.jit(function)

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no member {index}: they are 0 to {len(self) - 1}")

    def _check_targets(self, batch: Mapping[str, Any]) -> None:
        """Refuses cached outputs that lack a member's temperature, which a trace cannot see."""
        outputs = jax.eval_shape(as_outputs, batch.get("teacher"))
        for objective in {id(o): o for o in self._objectives}.values():
            objective.check_temperatures(outputs)
