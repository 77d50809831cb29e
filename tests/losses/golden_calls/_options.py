"""How a case's arrays and hyperparameters reach a call: nothing is left out unnoticed."""

import copy
from collections.abc import Mapping
from typing import Any


class Mismatch(ValueError):
    """A hyperparameter contradicts the arrays that it describes."""


class Missing(LookupError):
    """A hyperparameter's value needs an array, or another hyperparameter, that is not there."""


class Refused(ValueError):
    """A value that the reference accepts and we have no equal for; the message states why."""


class Inputs(dict):
    """The arrays of a case by name; one that is not there is `Missing`."""

    def __missing__(self, name):
        raise Missing(name)

    def __or__(self, other):
        return Inputs(dict(self) | dict(other))


class Options:
    """The hyperparameters of a case, which records those that a call has used.

    A number, a flag or a list is read by `options[name]`, or with all others by `**options.rest()`.
    A name (`reduction="sum"`) is only to be had through `choose`, with what each of its values
    means, so that none falls into the branch of another. What merely describes the arrays
    (`num_classes=20`) is compared with them by `describes`. Hyperparameters of a hyperparameter
    are named with a dot: `options["kernel.gamma"]`.

    Attributes:
      choices: from the name of each hyperparameter that was chosen by to its values.
    """

    def __init__(self, method: str, hyperparameters: Mapping[str, Any]):
        self._method = method
        self._values = flat(hyperparameters)
        self._used: set[str] = set()
        self._taken: set[str] = set()
        self.choices: dict[str, tuple[Any, ...]] = {}

    def again(self):
        """These for another trace of the call: its `rest()` starts anew, the record goes on."""
        other = copy.copy(self)
        other._taken = set()
        return other

    def _take(self, name):
        self._taken.add(name)
        self._used.add(name)

    def __getitem__(self, name):
        value = self.get(name)
        if name not in self._values:
            raise Missing(f"{self._method} has no hyperparameter {name!r}")
        return value

    def get(self, name, default=None):
        """A hyperparameter that only some entries have."""
        value = self._values.get(name, default)
        if isinstance(value, str):
            raise TypeError(f"{self._method}: {name}={value!r} is one of several names: choose()")
        self._take(name)
        return value

    def choose(self, name, meanings):
        """What the value of a hyperparameter means.

        Args:
          name: of the hyperparameter.
          meanings: from each value that the reference accepts to anything.
        """
        if len(meanings) < 2:
            raise TypeError(f"{self._method}: {name} is asserted to be {list(meanings)}, not used")
        self._take(name)
        self.choices[name] = tuple(meanings)
        value = self._values[name]
        if value not in meanings:
            raise Refused(f"{self._method}: {name}={value!r} is none of {list(meanings)}")
        return meanings[value]

    def describes(self, name, array, *axes):
        """Raises Mismatch unless the value is the array's size on an axis, or list of sizes."""
        self._take(name)
        sizes = [array.shape[axis] for axis in axes]
        if self._values[name] != (sizes if len(axes) > 1 else sizes[0]):
            raise Mismatch(f"{self._method}: {name}={self._values[name]!r}, the arrays say {sizes}")

    def rest(self, **ours):
        """All that this call has not taken before, by our names: `rest(tau="temperature")`."""
        names = [name for name in self._values if name not in self._taken]
        return {ours.get(name, name): self[name] for name in names}

    @property
    def names(self):
        """The names of all."""
        return set(self._values)

    def unused(self):
        """The names of what the call has not used."""
        return self.names - self._used


def flat(hyperparameters, prefix=""):
    """Nested hyperparameters by dotted names."""
    values = {}
    for name, value in hyperparameters.items():
        nested = isinstance(value, Mapping)
        values |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return values
