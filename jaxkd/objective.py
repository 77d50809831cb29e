"""The objective: a weighted sum of pure losses on named outputs.

Weights and temperatures are numbers or optax schedules of the training step, so that they resume
where a run was cut.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses import SparseLogits, masked_sum_and_count
from jaxkd.networks import Network, PyTree

Schedule = Callable[[Any], Any]
# Steps at which a schedule is tried before training, far enough to see where it is heading.
_PROBED_STEPS = (0, *(int(10 ** (exponent / 10)) for exponent in range(61)))


@dataclasses.dataclass(frozen=True)
class Term:
    """One loss with its weight, its temperature and the outputs that it compares.

    A loss says by the names of its parameters what it wants: `student` and `teacher` are outputs
    of the two networks, `labels` the labels of the batch. Fix a hyper-parameter with
    `functools.partial(losses.cross_entropy, label_smoothing=0.1)`.

    Attributes:
      loss: a function of `student` and of `teacher` or `labels`, returning one number an example
        (or token), or a scalar if it couples the examples of a batch.
      weight: a number or an optax schedule.
      temperature: a number or an optax schedule, for losses that take one; None leaves the loss's
        own default.
      student: name of the student's output, `"logits"` or a feature.
      teacher: name of the teacher's output.
      connector: a network trained beside the student through which the student's output goes
        first, for features of another width: `jaxkd.from_nnx(connectors.Linear(…))`.

    Raises:
      ValueError: a weight or temperature that is not finite, a temperature that is not positive,
        a loss whose parameters cannot be supplied.
    """

    loss: Callable[..., jax.Array]
    weight: float | Schedule = 1.0
    temperature: float | Schedule | None = None
    student: str = "logits"
    teacher: str = "logits"
    connector: Network | None = None

    def __post_init__(self):
        name = _name(self.loss)
        for value in _values(self.weight):
            if not math.isfinite(value):
                raise ValueError(f"the weight of {name} must be finite, not {value}")
        if self.temperature is not None:
            if "temperature" not in inspect.signature(self.loss).parameters:
                raise ValueError(f"{name} takes no temperature; leave it out of its term")
            for value in _values(self.temperature):
                if not (math.isfinite(value) and value > 0):
                    raise ValueError(
                        f"the temperature of {name} must be a positive number, not {value}"
                    )
        unknown = [p for p in _required(self.loss) if p not in ("student", "teacher", "labels")]
        if unknown:
            raise ValueError(
                f"{name} asks for {unknown}: a loss takes `student`, `teacher` and `labels`; fix "
                "other parameters with functools.partial"
            )

    @functools.cached_property
    def wants(self) -> frozenset[str]:
        """Which of `student`, `teacher` and `labels` the loss takes."""
        return frozenset(_required(self.loss))


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
        return any("teacher" in term.wants for term in self.terms.values())

    def connectors(self) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Parameters and state of the connectors by name of their term."""
        own = {name: term.connector for name, term in self.terms.items() if term.connector}
        return {n: c.params for n, c in own.items()}, {n: c.state for n, c in own.items()}

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
          batch: `"labels"` (integers, -1 = unlabelled, or distributions), optionally `"labelled"`
            (bool `[batch]`) and `"where"` (bool `[batch]`, False = padding).
          step: the training step that schedules see.
          params: the connectors' parameters by term, as `connectors()` returns them.
          state: their state.
          train: passed to the connectors.
          key: likewise.

        Returns:
          The total, a dictionary with each term's unweighted (sum, count), to be added up over
          batches and then divided, and the connectors' new state. What counts are the examples (or
          tokens) that are not padding, and labelled where the loss takes labels.

        Raises:
          ValueError: an output that a network does not have, teacher outputs or labels that a term
            needs and nobody gave, a loss that couples examples and cannot leave out those that do
            not count. While tracing, hence before the first step.
        """
        params, new_state = params or {}, dict(state or {})
        total = jnp.zeros((), jnp.float32)
        metrics: dict[str, tuple[jax.Array, jax.Array]] = {}
        for index, (name, term) in enumerate(self.terms.items()):
            output = _lookup(student, term.student, name, "student")
            if term.connector:
                connector_key = None if key is None else jax.random.fold_in(key, index)
                outputs, new_state[name] = term.connector.apply(
                    params[name], new_state[name], output, train=train, key=connector_key
                )
                output = outputs["logits"]
            arguments: dict[str, Any] = {"student": output}
            if "teacher" in term.wants:
                if teacher is None:
                    raise ValueError(
                        f"term {name!r} compares with the teacher: pass teacher= to the step or "
                        "read the batches from a cache"
                    )
                arguments["teacher"] = _lookup(teacher, term.teacher, name, "teacher")
            where = batch.get("where")
            if "labels" in term.wants:
                if "labels" not in batch:
                    raise ValueError(f"term {name!r} needs labels; the batch has {sorted(batch)}")
                arguments["labels"] = batch["labels"]
                where = counted(batch)
            if term.temperature is not None:
                arguments["temperature"] = _at(term.temperature, step)
                if isinstance(arguments.get("teacher"), SparseLogits):
                    _check_declared(term.temperature, arguments["teacher"].temperatures, name)
            values = term.loss(**arguments)
            if values.ndim:
                where = None if where is None else _expand(where, values.ndim)
                metrics[name] = masked_sum_and_count(values, where)
            elif where is not None:
                raise ValueError(
                    f"term {name!r} couples the examples of a batch and would take in those that "
                    "do not count (padding, or unlabelled ones): give it full batches"
                )
            else:
                metrics[name] = values, jnp.ones((), values.dtype)
            value, count = metrics[name]
            total += _at(term.weight, step) * value / jnp.maximum(count, 1)
        return total, metrics, new_state


def _lookup(outputs: Mapping[str, Any], output: str, term: str, side: str) -> Any:
    if output not in outputs:
        raise ValueError(
            f"term {term!r} wants the {side}'s output {output!r}; the {side} has {sorted(outputs)}"
        )
    return outputs[output]


def counted(batch: Mapping[str, Any]) -> jax.Array | None:
    """Which examples (or tokens) are labelled and not padding; None where all are.

    Args:
      batch: `"labels"` (integers, -1 = unlabelled, or distributions), optionally `"labelled"` and
        `"where"`; a mask may have fewer axes than the labels, counted from the first.
    """
    labels = batch["labels"]
    masks = [batch[name] for name in ("where", "labelled") if batch.get(name) is not None]
    if "labelled" not in batch and jnp.issubdtype(labels.dtype, jnp.integer):
        masks.append(labels >= 0)
    if not masks:
        return None
    rank = max(mask.ndim for mask in masks)
    return functools.reduce(jnp.logical_and, (_expand(mask, rank) for mask in masks))


def _expand(mask: jax.Array, rank: int) -> jax.Array:
    return mask.reshape(mask.shape + (1,) * (rank - mask.ndim))


def _at(value: float | Schedule, step: Any) -> Any:
    return value(step) if callable(value) else value


def _values(value: float | Schedule) -> list[float]:
    return [float(value(step)) for step in _PROBED_STEPS] if callable(value) else [float(value)]


def _check_declared(temperature: Any, declared: tuple[float, ...], term: str) -> None:
    with jax.ensure_compile_time_eval():
        used = sorted(set(_values(temperature)))
    if unknown := [t for t in used if not any(math.isclose(t, d, rel_tol=1e-6) for d in declared)]:
        raise ValueError(
            f"term {term!r} uses the temperatures {unknown}, but the targets know their tail mass "
            f"at {declared} alone: rebuild the cache with TopK(temperatures=…) or use one of these"
        )


def _required(loss: Callable[..., Any]) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _name(loss: Callable[..., Any]) -> str:
    return getattr(getattr(loss, "func", loss), "__name__", repr(loss))
