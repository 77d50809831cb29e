"""The numbers in which the members of a population differ, and what is created from them."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from jaxkd.networks._arguments import shown

T = TypeVar("T")
SEED = "seed"


def grid(**axes: Iterable[float] | float) -> dict[str, list[float]]:
    """Returns every combination of some numbers, as the members of a `Population`.

    Args:
      **axes: name → numbers, or one number that all members share. `seed` is an axis like any.

    Returns:
      Name → one number a member. The last axis changes fastest, so that `[N]` results take the
      grid's shape by `reshape` with the axes' lengths.

    Raises:
      ValueError: no axis, or an axis without a number.

    Example:
      >>> grid(temperature=[1.0, 4.0], alpha=0.9, seed=range(2))
      {'temperature': [1.0, 1.0, 4.0, 4.0], 'alpha': [0.9, 0.9, 0.9, 0.9], 'seed': [0, 1, 0, 1]}
    """
    values = {
        name: list(axis) if isinstance(axis, Iterable) else [axis] for name, axis in axes.items()
    }
    if not values:
        raise ValueError("a grid needs at least one axis, such as temperature=[1.0, 4.0]")
    if empty := [name for name, axis in values.items() if not axis]:
        raise ValueError(f"the axes {empty} hold no number: give each at least one")
    rows = zip(*itertools.product(*values.values()), strict=True)
    return {name: list(row) for name, row in zip(values, rows, strict=True)}


def check_members(members: Mapping[str, Sequence[float]]) -> dict[str, list[Any]]:
    """Checks the members' numbers.

    Args:
      members: name → one number a member.

    Returns:
      The same as Python's numbers, with `seed` if it was missing.

    Raises:
      TypeError: a value that is not a number, or a number in place of one a member.
      ValueError: no member, lengths that differ, a number that is not finite.
    """
    for name, values in members.items():
        if not isinstance(values, Iterable) or isinstance(values, str):
            raise TypeError(
                f"{name} must be one number a member, not {shown(values)}: write "
                f"{{{name!r}: [{values!r}]}}, or jaxkd.training.grid, which takes single numbers"
            )
    # NumPy's and JAX's scalars become Python's.
    plain = {
        name: [value.item() if hasattr(value, "item") else value for value in values]
        for name, values in members.items()
    }
    lengths = {name: len(values) for name, values in plain.items()}
    if not lengths or 0 in lengths.values():
        raise ValueError(
            f"a population needs at least one member, and members has the lengths {lengths}: give "
            "each name one number a member, such as temperature=[1.0, 4.0]"
        )
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"the members' numbers have the lengths {lengths}: give each name one number a "
            "member (jaxkd.training.grid makes all combinations)"
        )
    for name, values in plain.items():
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} of member {index} must be a number, not {value!r}")
            if name == SEED and not isinstance(value, int):
                raise TypeError(f"{name} of member {index} must be an integer, not {value!r}")
            if not math.isfinite(value):
                raise ValueError(f"{name} of member {index} must be finite, not {value}")
    return {**plain, SEED: plain.get(SEED, list(range(next(iter(lengths.values())))))}


def as_arrays(members: Mapping[str, Sequence[float]]) -> dict[str, jax.Array]:
    """Returns the numbers as a step takes them, float32 `[N]` each.

    Seeds are left out: what depends on them, students, connectors and keys, is in the state.
    """
    return {
        name: jnp.asarray(values, jnp.float32) for name, values in members.items() if name != SEED
    }


@dataclasses.dataclass(frozen=True)
class MemberFactory(Generic[T]):
    """Creates an objective or an optimizer, the same for all members or from their numbers.

    Attributes:
      role: `"objective"` or `"optimizer"`, for messages.
      create: function that creates one.
      names: names of the members' numbers that the function takes.
      kind: class of what it returns.
      accepts: names of all numbers that it could take.
    """

    role: str
    create: Callable[..., T]
    names: tuple[str, ...]
    kind: type[T]
    accepts: tuple[str, ...] = ()

    @classmethod
    def from_source(
        cls, role: str, source: Any, kind: type[T], members: Mapping[str, Any]
    ) -> MemberFactory[T]:
        """Makes a factory.

        Args:
          role: `"objective"` or `"optimizer"`.
          source: an object of `kind`, or a function whose parameters name the numbers it takes.
          kind: class of what is created.
          members: name → one number a member.

        Returns:
          The factory.

        Raises:
          TypeError: a source that is neither of these.
          ValueError: a parameter without default that the members have no number for.
        """
        if isinstance(source, kind):
            return cls(role, lambda: source, (), kind)
        if not callable(source):
            raise TypeError(
                f"{role} must be an {kind.__name__} or a function that returns one, not "
                f"{type(source).__name__}"
            )
        parameters = inspect.signature(source).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return cls(role, source, tuple(members), kind, tuple(members))
        required = {
            p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
        }
        if missing := sorted(required - set(members)):
            raise ValueError(
                f"the function for the {role} needs {missing}, and the members have "
                f"{sorted(members)}: add the numbers to members, or give the parameter a default"
            )
        accepts = tuple(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
        return cls(role, source, tuple(n for n in accepts if n in members), kind, accepts)

    def __call__(self, numbers: Mapping[str, Any]) -> T:
        """Creates one from a member's numbers, traced or not.

        Args:
          numbers: name → number.

        Returns:
          An object of `kind`.

        Raises:
          TypeError: the function returned something else.
          ValueError: the function depends on the value of a traced number.
        """
        try:
            created = self.create(**{name: numbers[name] for name in self.names})
        except jax.errors.ConcretizationTypeError as error:
            raise ValueError(
                f"the function for the {self.role} looks at the value of one of "
                f"{list(self.names)} while it is compiled, when a population's numbers have none "
                f"yet: {str(error).splitlines()[0]}. Multiply by the number rather than branch on "
                "it; a schedule's peak becomes optax.chain(optax.adamw(schedule_of_peak_1), "
                "optax.scale(learning_rate))"
            ) from error
        if not isinstance(created, self.kind):
            raise TypeError(
                f"the function for the {self.role} must return an {self.kind.__name__}, not "
                f"{type(created).__name__}"
            )
        return created

    def for_members(self, members: Mapping[str, Sequence[Any]]) -> list[T]:
        """Creates one for each member; members of equal numbers share it."""
        rows = [dict(zip(members, row, strict=True)) for row in zip(*members.values(), strict=True)]
        keys = [tuple(row[name] for name in self.names) for row in rows]
        created: dict[tuple[Any, ...], T] = {}
        for key, row in zip(keys, rows, strict=True):
            if key not in created:
                created[key] = self(row)
        return [created[key] for key in keys]
