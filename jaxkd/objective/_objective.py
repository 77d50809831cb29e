"""The weighted sum of terms, with its metrics and the state of its connectors."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses import SampledClasses, SparseLogits, masked_sum_and_count
from jaxkd.losses._arguments import to_rank
from jaxkd.networks import Connector, PyTree
from jaxkd.objective._term import Term, at_step, values_of


class Objective:
    """A weighted sum of terms, each under a name that its metric carries too.

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

    def __init__(self, **terms: Term):
        """Makes an objective.

        Args:
          **terms: name → `Term`.

        Raises:
          ValueError: no term, or a name that a metric already has.
        """
        if not terms:
            raise ValueError("an objective needs at least one term")
        if reserved := {"loss", "accuracy", "step"} & set(terms):
            raise ValueError(f"{sorted(reserved)} are names of metrics; name the term otherwise")
        self.terms = dict(terms)

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with the teacher."""
        return any(term.needs_teacher for term in self.terms.values())

    @property
    def student_outputs(self) -> frozenset[str]:
        """Names of the student's outputs that the terms compare."""
        names: set[str] = set()
        for term in self.terms.values():
            names |= {term.student} if isinstance(term.student, str) else set(term.student)
        return frozenset(names)

    def connectors(self) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Parameters and state of the connectors by name of their term."""
        own = {n: t.connector for n, t in self.terms.items() if isinstance(t.connector, Connector)}
        return {n: c.params for n, c in own.items()}, {n: c.state for n, c in own.items()}

    def parts(
        self, metrics: Mapping[str, tuple[jax.Array, jax.Array]], step: Any
    ) -> tuple[jax.Array, jax.Array]:
        """The weighted sums of the terms without a teacher (the task) and of those with one.

        Args:
          metrics: each term's (sum, count), as the objective returns them.
          step: the training step that the weights' schedules see.

        Returns:
          Two scalars whose sum is the objective; the gradients of the two are what
          `jaxkd.training.dot` keeps apart.
        """
        task, distillation = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
        for name, term in self.terms.items():
            total, count = metrics[name]
            weighted = at_step(term.weight, step) * total / jnp.maximum(count, 1)
            if term.needs_teacher:
                distillation += weighted
            else:
                task += weighted
        return task, distillation

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
            targets = teacher.get(term.teacher) if isinstance(term.teacher, str) else None
            if isinstance(targets, SparseLogits | SampledClasses):
                _check_declared(term.temperature, targets.temperatures, name)

    def __call__(
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
    ) -> tuple[jax.Array, dict[str, tuple[jax.Array, jax.Array]], dict[str, PyTree]]:
        """The weighted sum and its parts.

        Args:
          student: the student's named outputs.
          teacher: the teacher's, or None where no term wants them.
          batch: `"labels"` (integers, -1 = unlabeled, or distributions), optionally `"labeled"`
            (bool `[batch]`), `"where"` (bool `[batch]`, False = padding), and the fields that
            connectors ask for.
          step: the training step that schedules see.
          params: the connectors' parameters by term, as `connectors()` returns them.
          state: their state.
          train: passed to the connectors.
          key: likewise.

        Returns:
          The total, a dictionary with each term's unweighted (sum, count), to be added up over
          batches and then divided, and the connectors' new state. What counts are the examples (or
          tokens) that `"where"`, or the term's own `where`, selects, and that are labeled where
          the loss takes labels.

        Raises:
          ValueError: an output that a network does not have, teacher outputs or labels that a term
            needs and nobody gave, a loss that couples examples and cannot leave out those that do
            not count. While tracing, hence before the first step.
        """
        self.check_temperatures(teacher)
        params, new_state = params or {}, dict(state or {})
        metrics: dict[str, tuple[jax.Array, jax.Array]] = {}
        for index, (name, term) in enumerate(self.terms.items()):
            arguments: dict[str, Any] = {"student": _lookup(student, term.student, name, "student")}
            if term.needs_teacher:
                if teacher is None:
                    raise ValueError(
                        f"term {name!r} compares with the teacher: pass teacher= to the step or "
                        "read the batches from a cache"
                    )
                arguments["teacher"] = _lookup(teacher, term.teacher, name, "teacher")
            seen = batch if term.where is None else {**batch, "where": term.where(batch)}
            for field in term.wants - {"student", "teacher"}:
                arguments[field] = _supplied(field, seen, step, name)
            if term.temperature is not None:
                arguments["temperature"] = at_step(term.temperature, step)
            if isinstance(term.connector, Connector):
                made, new_state[name] = term.connector.apply(
                    params[name],
                    new_state[name],
                    arguments.pop("student"),
                    train=train,
                    key=None if key is None else jax.random.fold_in(key, index),
                    **{field: arguments[field] for field in term.connector.asks},
                )
                if unknown := sorted(set(made) - term.accepts):
                    raise ValueError(
                        f"the connector of term {name!r} returns {unknown}, which its loss does "
                        f"not take: it takes {sorted(term.accepts)}"
                    )
                # What only the connector asked for goes no further.
                arguments = {k: v for k, v in arguments.items() if k in term.accepts} | made
            metrics[name] = _sum_and_count(term, arguments, seen, name)
        task, distillation = self.parts(metrics, step)
        return task + distillation, metrics, new_state


def _sum_and_count(
    term: Term, arguments: dict[str, Any], batch: Mapping[str, Any], name: str
) -> tuple[jax.Array, jax.Array]:
    where = counted(batch) if "labels" in term.requires else batch.get("where")
    # Which kind of loss it is, before it is called with what that kind takes.
    kind = jax.eval_shape(functools.partial(term.loss, **arguments))
    if isinstance(kind, tuple):
        return _own_sum_and_count(term, arguments, batch, name)
    if kind.ndim:
        mask = None if where is None else to_rank(where, kind.ndim)
        return masked_sum_and_count(term.loss(**arguments), mask)
    if where is not None:
        if "where" not in term.accepts:
            raise ValueError(
                f"term {name!r} couples the examples of a batch and would take in those that do "
                "not count (padding, or unlabeled ones): give it full batches, or a loss with a "
                "parameter `where`"
            )
        arguments = {**arguments, "where": where}
    value = term.loss(**arguments)
    return value, jnp.ones((), value.dtype)


def _own_sum_and_count(
    term: Term, arguments: dict[str, Any], batch: Mapping[str, Any], name: str
) -> tuple[jax.Array, jax.Array]:
    """What a loss that counts for itself says of the examples that are not padding.

    Whether those without a label count is for it to say: their class ids are -1.
    """
    where, arguments = batch.get("where"), dict(arguments)
    if "labels" in term.requires:
        labels, labeled = arguments["labels"], batch.get("labeled")
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            where = counted(batch)
        elif labeled is not None:
            arguments["labels"] = jnp.where(to_rank(labeled, labels.ndim), labels, -1)
    if "where" in term.accepts:
        arguments["where"] = where
    elif where is not None:
        raise ValueError(
            f"term {name!r} returns a sum and a count of its own and cannot leave out what does "
            "not count (padding, or unlabeled examples): give it full batches, or a loss with a "
            "parameter `where`"
        )
    found = term.loss(**arguments)
    if len(found) != 2 or any(jnp.ndim(value) for value in found):
        raise ValueError(
            f"the loss of term {name!r} returns a tuple of shapes "
            f"{tuple(map(jnp.shape, found))}: a tuple is (sum, count), two scalars"
        )
    return found


def _lookup(outputs: Mapping[str, Any], output: str | tuple[str, ...], term: str, side: str) -> Any:
    if isinstance(output, tuple):
        return tuple(_lookup(outputs, name, term, side) for name in output)
    if output not in outputs:
        raise ValueError(
            f"term {term!r} wants the {side}'s output {output!r}; the {side} has {sorted(outputs)}"
        )
    return outputs[output]


def _supplied(field: str, batch: Mapping[str, Any], step: Any, term: str) -> Any:
    if field == "step":
        return step
    if field == "where":
        return batch.get("where")
    if field not in batch:
        raise ValueError(f"term {term!r} needs {field}; the batch has {sorted(batch)}")
    return batch[field]


def counted(batch: Mapping[str, Any]) -> jax.Array | None:
    """Which examples (or tokens) are labeled and not padding; None where all are.

    Args:
      batch: `"labels"` (integers, -1 = unlabeled, or distributions), optionally `"labeled"` and
        `"where"`; a mask may have fewer axes than the labels, counted from the first.
    """
    labels = batch["labels"]
    masks = [batch[name] for name in ("where", "labeled") if batch.get(name) is not None]
    if "labeled" not in batch and jnp.issubdtype(labels.dtype, jnp.integer):
        masks.append(labels >= 0)
    if not masks:
        return None
    rank = max(mask.ndim for mask in masks)
    return functools.reduce(jnp.logical_and, (to_rank(mask, rank) for mask in masks))


def _check_declared(temperature: Any, declared: tuple[float, ...], term: str) -> None:
    used = sorted(set(values_of(temperature)))
    if unknown := [t for t in used if not any(math.isclose(t, d, rel_tol=1e-6) for d in declared)]:
        raise ValueError(
            f"term {term!r} uses the temperatures {unknown}, but the targets are known at "
            f"{declared} alone: rebuild the cache with a codec of those temperatures, or use one "
            "of these"
        )
