"""The weighted sum of terms, with its metrics and the state of its connectors."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxkd.losses import SampledClasses, SparseLogits
from jaxkd.networks import Connector, PyTree
from jaxkd.networks._arguments import shown
from jaxkd.objective._counting import SumAndCount, sum_and_count
from jaxkd.objective._fields import labeled_of, lookup_field
from jaxkd.objective.term import Term, at_step, values_of

# What a train step reports besides the terms, and the columns of a metrics history.
_RESERVED = frozenset({"loss", "accuracy", "skipped", "step", "member"})


class ObjectiveValue(NamedTuple):
    """What an objective is on one batch.

    Attributes:
      task: weighted sum of the terms without a teacher.
      distillation: weighted sum of the terms that compare with the teacher. The gradients of the
        two are what `jaxkd.training.dot` keeps apart.
      metrics: each term's unweighted (sum, count), to be added up over batches and then divided.
      state: the connectors' new state, by name of their term.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import recipes
      >>> logits, batch = {"logits": jnp.zeros((2, 4))}, {"labels": jnp.array([1, 2])}
      >>> value = recipes.kd(alpha=0.5, temperature=1.0).evaluate(logits, logits, batch, step=0)
      >>> round(float(value.task), 4), float(value.distillation), sorted(value.metrics)
      (0.6931, 0.0, ['kd', 'label'])
    """

    task: jax.Array
    distillation: jax.Array
    metrics: dict[str, SumAndCount]
    state: dict[str, PyTree]

    @property
    def total(self) -> jax.Array:
        """The objective: task and distillation together."""
        return self.task + self.distillation


class Objective:
    """A weighted sum of terms, each under a name that its metric has, too.

    Example:
      >>> import optax
      >>> from jaxkd import losses
      >>> objective = Objective(
      ...     label=Term(losses.cross_entropy, weight=0.1),
      ...     kd=Term(losses.kd, weight=0.9, temperature=optax.linear_schedule(8.0, 2.0, 5_000)),
      ... )
      >>> objective.needs_teacher
      True
    """

    def __init__(self, *unnamed: Any, **terms: Term):
        """Makes an objective.

        Args:
          *unnamed: nothing; a term has a name.
          **terms: name → `Term`.

        Raises:
          TypeError: a loss or an objective in place of a `Term`.
          ValueError: no term, or a name that a metric or a column of the history already has.
        """
        if unnamed:
            raise TypeError(
                f"the terms of an objective have names, {shown(unnamed[0])} has none: write "
                "Objective(kd=Term(loss))"
            )
        if not terms:
            raise ValueError("an objective needs at least one term")
        if reserved := _RESERVED & set(terms):
            raise ValueError(
                f"{sorted(reserved)} are names of metrics, or of columns of their history; name "
                "the term otherwise"
            )
        for name, term in terms.items():
            if not isinstance(term, Term):
                inner = isinstance(term, Objective)
                remedy = f"Objective(**{name}.terms, …)" if inner else f"{name}=Term(loss)"
                raise TypeError(f"term {name!r} must be a Term, not {shown(term)}: write {remedy}")
        self.terms = dict(terms)

    def __repr__(self) -> str:
        return f"Objective({', '.join(f'{name}={term!r}' for name, term in self.terms.items())})"

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with the teacher."""
        return any(term.needs_teacher for term in self.terms.values())

    @property
    def student_outputs(self) -> frozenset[str]:
        """Names of the student's outputs that the terms compare."""
        return frozenset(name for term in self.terms.values() for name in _names(term.student))

    @property
    def teacher_outputs(self) -> frozenset[str]:
        """Names of the teacher's outputs that the terms compare."""
        terms = [term for term in self.terms.values() if term.needs_teacher]
        return frozenset(name for term in terms for name in _names(term.teacher))

    def connectors(self) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Returns parameters and state of the connectors by name of their term."""
        modules = {
            n: t.connector for n, t in self.terms.items() if isinstance(t.connector, Connector)
        }
        return {n: c.params for n, c in modules.items()}, {n: c.state for n, c in modules.items()}

    def check_temperatures(self, teacher: Mapping[str, Any] | None) -> None:
        """Refuses temperatures at which the teacher's sparse outputs are not known.

        Args:
          teacher: the teacher's named outputs, or shapes of them.

        Raises:
          ValueError: such a temperature; names the term and the temperatures that were declared.
        """
        for name, term in self.terms.items():
            if teacher is None or term.temperature is None or not term.needs_teacher:
                continue
            for output in _names(term.teacher):
                targets = teacher.get(output)
                if isinstance(targets, SparseLogits | SampledClasses):
                    _check_declared(term.temperature, targets.temperatures, name)

    def __call__(
        self,
        student: Mapping[str, Any],
        teacher: Mapping[str, Any] | None,
        batch: Mapping[str, Any],
        **options: Any,
    ) -> tuple[jax.Array, dict[str, SumAndCount], dict[str, PyTree]]:
        """Computes the weighted sum of all terms.

        Args:
          student: the student's named outputs.
          teacher: the teacher's, or None where no term compares with them.
          batch: see `evaluate`.
          **options: see `evaluate`.

        Returns:
          The total, the metrics and the connectors' new state, as `evaluate` has them.
        """
        value = self.evaluate(student, teacher, batch, **options)
        return value.total, value.metrics, value.state

    def evaluate(
        self,
        student: Mapping[str, Any],
        teacher: Mapping[str, Any] | None,
        batch: Mapping[str, Any],
        *,
        step: Any = 0,
        params: Mapping[str, PyTree] | None = None,
        state: Mapping[str, PyTree] | None = None,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> ObjectiveValue:
        """Computes the weighted sums of the terms with and without a teacher, and their metrics.

        Every loss is called once. What counts are the examples (or tokens) that `"where"`, or the
        term's own `where`, selects, and that are labeled where the loss takes labels.

        Args:
          student: the student's named outputs.
          teacher: the teacher's, or None where no term compares with them.
          batch: `"labels"` (integers, -1 = unlabeled, or distributions), optionally `"labeled"`
            (bool `[batch]`), `"where"` (bool `[batch]`, False = padding), and the fields that
            connectors require.
          step: number of the training step, which schedules depend on.
          params: the connectors' parameters by term, as `connectors()` returns them.
          state: the connectors' state by term.
          train: whether the connectors run in training mode.
          key: PRNG key of the connectors.

        Returns:
          The two sums, the metrics and the connectors' new state.

        Raises:
          ValueError: an output that a network does not have, teacher outputs or labels that a term
            needs and that are missing, a loss that couples examples and cannot leave out those that
            do not count. While tracing, hence before the first step.
        """
        self.check_temperatures(teacher)
        params, new_state = params or {}, dict(state or {})
        task, distillation = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
        metrics: dict[str, SumAndCount] = {}
        for index, (name, term) in enumerate(self.terms.items()):
            masked = _with_fields(name, term, batch)
            arguments = _arguments(name, term, student, teacher, masked, step)
            if isinstance(term.connector, Connector):
                connected, new_state[name] = term.connector.apply(
                    params[name],
                    new_state[name],
                    arguments.pop("student"),
                    train=train,
                    key=None if key is None else jax.random.fold_in(key, index),
                    **{field: arguments[field] for field in term.connector.requires},
                )
                if unknown := sorted(set(connected) - term.accepts):
                    raise ValueError(
                        f"the connector of term {name!r} returns {unknown}, which its loss does "
                        f"not take: it takes {sorted(term.accepts)}"
                    )
                # What only the connector required goes no further.
                arguments = {k: v for k, v in arguments.items() if k in term.accepts} | connected
            metrics[name] = total, count = sum_and_count(term, arguments, masked, name)
            weighted = at_step(term.weight, step) * total / jnp.maximum(count, 1)
            if term.needs_teacher:
                distillation += weighted
            else:
                task += weighted
        return ObjectiveValue(task, distillation, metrics, new_state)


def _with_fields(name: str, term: Term, batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the batch as a term sees it: its own mask, and fields under their parameters' names.

    Where one of several sets of labels is chosen, `"labeled"` is of the same set if it is of each.
    """
    changes = {} if term.where is None else {"where": term.where(batch)}
    for parameter, path in term.fields.items():
        changes[parameter] = lookup_field(batch, path, f"term {name!r}")
    if "labels" in term.fields:
        changes |= labeled_of(batch, term.fields["labels"])
    return {**batch, **changes} if changes else batch


def _arguments(
    name: str,
    term: Term,
    student: Mapping[str, Any],
    teacher: Mapping[str, Any] | None,
    batch: Mapping[str, Any],
    step: Any,
) -> dict[str, Any]:
    """Returns by name what a term's loss and connector require of networks, batch and step."""
    arguments: dict[str, Any] = {"student": _lookup(student, term.student, name, "student")}
    if term.has_class_axis and getattr(arguments["student"], "ndim", None) == 1:
        raise ValueError(
            f"the loss of term {name!r} has an axis of classes, and the student's {term.student!r} "
            f"{arguments['student'].shape} have none: of one sigmoid output write "
            "losses.binary_kd and losses.binary_cross_entropy, or recipes.create('binary_kd', pair)"
        )
    if term.needs_teacher:
        if teacher is None:
            raise ValueError(
                f"term {name!r} compares with the teacher: pass teacher= to the step or "
                "read the batches from a cache"
            )
        arguments["teacher"] = _lookup(teacher, term.teacher, name, "teacher")
    for field in term.required_inputs - {"student", "teacher"}:
        arguments[field] = _supplied(field, batch, step, name)
    if term.temperature is not None:
        arguments["temperature"] = at_step(term.temperature, step)
    return arguments


def _names(output: str | tuple[str, ...]) -> tuple[str, ...]:
    return (output,) if isinstance(output, str) else output


def _lookup(outputs: Mapping[str, Any], output: str | tuple[str, ...], term: str, side: str) -> Any:
    if isinstance(output, tuple):
        return tuple(_lookup(outputs, name, term, side) for name in output)
    if output not in outputs:
        raise ValueError(
            f"term {term!r} needs the {side}'s output {output!r}; the {side} has {sorted(outputs)}"
        )
    return outputs[output]


def _supplied(field: str, batch: Mapping[str, Any], step: Any, term: str) -> Any:
    if field == "step":
        return step
    if field == "where":
        return batch.get("where")
    if field not in batch:
        raise ValueError(f"term {term!r} needs {field}; the batch has {sorted(batch)}")
    if field == "labels" and isinstance(batch[field], Mapping):
        first = next(iter(batch[field]), "…")
        raise ValueError(
            f"term {term!r} needs labels, and the batch has several sets of them, "
            f"{sorted(batch[field])}: write Term(…, fields={{'labels': 'labels.{first}'}})"
        )
    return batch[field]


def _check_declared(temperature: Any, declared: tuple[float, ...], term: str) -> None:
    used = sorted(set(values_of(temperature)))
    if unknown := [t for t in used if not any(math.isclose(t, d, rel_tol=1e-6) for d in declared)]:
        raise ValueError(
            f"term {term!r} uses the temperatures {unknown}, but the targets are known only "
            f"at {declared}: rebuild the cache with a codec of those temperatures, or use one "
            "of these"
        )
