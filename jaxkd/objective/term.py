"""One loss with its weight, its temperature, and where its arguments come from."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

from jaxkd.networks import Connector, Network, as_connector
from jaxkd.networks._arguments import shown


class Schedule(Protocol):
    """A function from the number of the training step to a number, as optax's schedules are.

    Example:
      >>> import optax
      >>> falling = optax.linear_schedule(0.9, 0.1, 100)
      >>> float(falling(0)), float(falling(50)), float(falling(100))
      (0.9000000357627869, 0.5, 0.10000000149011612)
    """

    def __call__(self, step: Any, /) -> Any:
        """Returns the value at a step."""


# Steps at which a schedule is tried before training, far enough to see where it is heading.
_PROBED_STEPS = (0, *(int(10 ** (exponent / 10)) for exponent in range(61)))
_NO_DEFAULT = frozenset({"teacher", "labels"})
_SUPPLIED = frozenset({"student", "teacher", "labels", "where", "step"})


@dataclasses.dataclass(frozen=True)
class Term:
    """One loss with its weight, its temperature and the outputs that it compares.

    The names of a loss's parameters say what it requires: `student` and `teacher` are outputs of
    the two networks, `labels` the labels of the batch, `step` the number of the training step. What
    else it requires comes by name from the connector, or from the fields of the batch that `fields`
    names. Fix a hyper-parameter with
    `functools.partial(losses.cross_entropy, label_smoothing=0.1)`.

    Attributes:
      loss: a function of `student` and of `teacher` or `labels`, returning one number an example
        (or token), or a scalar if it couples the examples of a batch; then it has a parameter
        `where` if it can leave examples out. Or `(sum, count)`, two scalars, as the fused losses
        do: then it is also given `where` (which examples or tokens are not padding), and class ids
        of -1 where there is no label. See `losses.couples_examples` and
        `losses.returns_sum_and_count`.
      weight: a number or an optax schedule.
      temperature: a number or an optax schedule, for losses that take one; None leaves the loss's
        own default.
      student: name of the student's output, `"logits"` or a feature; several names make a tuple.
      teacher: name of the teacher's output, likewise.
      connector: module that is trained beside the student, whose output goes through it first. An
        NNX module (or a network of `jaxkd.from_linen` or `jaxkd.from_function`) that returns the
        new output, or a mapping of arguments of the loss. A module also gets, by name, what else
        its `__call__` requires: `teacher`, `labels`, `where`, `step`, or a field of the batch.
      where: a function from the batch to the mask of this term, in place of the batch's own field
        `"where"`, for losses over other tokens than those that the batch selects; None for the
        batch's own.
      fields: parameter of the loss (or of the connector) → field of the batch that it takes,
        dotted where the batch is nested: `{"labels": "labels.color", "weight": "sample_weight"}`.
        A parameter that is not in it takes the field of its own name.

    Raises:
      TypeError: a loss that is no function, a weight or temperature that is no number, a connector
        that is neither a module nor a network, fields that are no mapping of names to names.
      ValueError: a weight or temperature that is not finite, a temperature that is not positive
        (unless they are traced), a loss whose parameters cannot be supplied, a field for what the
        loss does not take.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> def weighted(student, labels, weight):
      ...     return weight * losses.cross_entropy(student, labels)
      >>> term = Term(weighted, fields={"labels": "labels.color", "weight": "sample_weight"})
      >>> sorted(term.required_inputs)
      ['labels', 'student', 'weight']
    """

    loss: Callable[..., Any]
    weight: float | Schedule = 1.0
    temperature: float | Schedule | None = None
    student: str | tuple[str, ...] = "logits"
    teacher: str | tuple[str, ...] = "logits"
    connector: nnx.Module | Network | Connector | None = None
    where: Callable[[Mapping[str, Any]], jax.Array | None] | None = None
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self):
        if not callable(self.loss):
            raise TypeError(
                f"the loss of a term must be a function, not {shown(self.loss)}: write losses.kd, "
                "not called; fix its parameters with functools.partial"
            )
        name = _name(self.loss)
        for what, number in (("weight", self.weight), ("temperature", self.temperature)):
            if callable(number) or (number is None and what == "temperature"):
                continue
            if number is None or isinstance(number, str) or np.ndim(number):
                raise TypeError(
                    f"the {what} of {name} must be a number or a schedule, not {shown(number)}"
                )
        for value in values_of(self.weight):
            if not math.isfinite(value):
                raise ValueError(f"the weight of {name} must be finite, not {value}")
        if self.temperature is not None:
            if "temperature" not in self.accepts:
                raise ValueError(f"{name} takes no temperature; leave it out of its term")
            for value in values_of(self.temperature):
                if not (math.isfinite(value) and value > 0):
                    raise ValueError(
                        f"the temperature of {name} must be a positive number, not {value}"
                    )
        parameters = inspect.signature(self.loss).parameters
        if self.connector is not None:
            object.__setattr__(self, "connector", as_connector(self.connector))
        elif unset := [n for n, p in parameters.items() if n in _NO_DEFAULT and p.default is None]:
            raise ValueError(
                f"{name} has the defaults {unset} = None and would never be given others: write "
                "these parameters without a default"
            )
        elif unknown := sorted(self.requires - _SUPPLIED - set(self.fields)):
            raise ValueError(
                f"{name} requires {unknown}: a loss takes `student`, `teacher`, `labels` and "
                "`step`; fix other parameters with functools.partial, take them from the batch "
                f"with fields={{{unknown[0]!r}: {unknown[0]!r}}}, or give the term a connector "
                "that supplies them"
            )
        self._check_fields(name)

    def _check_fields(self, name: str) -> None:
        """Refuses fields that are no names, or for what neither loss nor connector takes."""
        fields = self.fields
        if not isinstance(fields, Mapping) or not all(
            isinstance(word, str) for pair in fields.items() for word in pair
        ):
            raise TypeError(
                f"fields of {name} must map parameters of the loss to fields of the batch, not "
                f'{shown(fields)}: write fields={{"labels": "labels.color"}}'
            )
        taken = self.accepts | self.required_inputs
        if foreign := sorted(set(fields) & {"student", "teacher", "step"}):
            raise ValueError(
                f"{foreign} of {name} are no fields of a batch: name outputs of the networks with "
                "Term(student=…, teacher=…)"
            )
        if unknown := sorted(set(fields) - taken):
            raise ValueError(f"{name} does not take {unknown}, for which fields are given")

    def __repr__(self) -> str:
        parts = [_name(self.loss)]
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            empty = isinstance(value, Mapping) and not value
            if value is not field.default and value != field.default and not empty:
                parts.append(f"{field.name}={_shown(value)}")
        return f"Term({', '.join(parts)})"

    @functools.cached_property
    def accepts(self) -> frozenset[str]:
        """Names of all parameters of the loss."""
        return frozenset(inspect.signature(self.loss).parameters)

    @functools.cached_property
    def requires(self) -> frozenset[str]:
        """Names of those parameters of the loss that have no default."""
        return frozenset(
            name
            for name, parameter in inspect.signature(self.loss).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        )

    @functools.cached_property
    def required_inputs(self) -> frozenset[str]:
        """Names of what the loss and its connector require of networks, batch and step."""
        connector = self.connector
        required = connector.requires if isinstance(connector, Connector) else frozenset()
        taken = self.accepts & set(self.fields)
        return (self.requires & _SUPPLIED) | required | taken

    @functools.cached_property
    def has_class_axis(self) -> bool:
        """Whether the loss compares along an axis of classes, its parameter `axis`."""
        parameter = inspect.signature(self.loss).parameters.get("axis")
        # A default of None is for losses that compare each value by itself.
        return parameter is not None and parameter.default is not None

    @property
    def kind(self) -> str | None:
        """What the loss declares of itself: `"batch"`, `"sum_and_count"`, or nothing.

        See `jaxkd.losses.couples_examples` and `jaxkd.losses.returns_sum_and_count`.
        """
        loss = self.loss
        while isinstance(loss, functools.partial) and not hasattr(loss, "loss_kind"):
            loss = loss.func
        return getattr(loss, "loss_kind", None)

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss compares with the teacher."""
        return "teacher" in self.required_inputs


def _shown(value: Any) -> str:
    """Returns a field of a term in a few words."""
    if isinstance(value, Connector):
        return "Connector(…)"
    named = callable(value) and not isinstance(value, type)
    return getattr(value, "__qualname__", type(value).__name__) if named else repr(value)


def at_step(value: float | Schedule, step: Any) -> Any:
    """Returns a number, or a schedule's value at the step."""
    return value(step) if callable(value) else value


def values_of(value: float | Schedule) -> list[float]:
    """Returns a number, or a schedule's values at steps from the first on; none if they are traced.

    The numbers of a population's members are traced; they were checked one by one before.
    """
    with jax.ensure_compile_time_eval():
        values = [value(step) for step in _PROBED_STEPS] if callable(value) else [value]
        return [_number(value) for value in values if not is_traced(value)]


def _number(value: Any) -> float:
    if isinstance(value, str) or value is None or np.ndim(value):
        raise TypeError(f"a schedule must return a number, not {shown(value)}")
    return float(value)


def is_traced(value: Any) -> bool:
    """Returns whether a number is known only when the program runs, as those of a population.

    Example:
      >>> import jax.numpy as jnp
      >>> traced = []
      >>> _ = jax.jit(lambda x: traced.append(is_traced(x)) or x)(jnp.array(4.0))
      >>> is_traced(4.0), traced
      (False, [True])
    """
    return isinstance(value, jax.core.Tracer)


def _name(loss: Callable[..., Any]) -> str:
    return getattr(getattr(loss, "func", loss), "__name__", repr(loss))
