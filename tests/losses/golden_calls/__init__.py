"""The one table that maps each method of the golden index to the call that should equal it.

One module for each package of losses has its part of the table: `CALLS`, from the method's name to
a function `(inputs, outputs, options)` that returns the value, or the value and a dictionary of
other outputs under the reference's names (`out_…`); gradients are taken through the value. `inputs`
are all arrays of a case by name (floating point traced, integers as NumPy arrays), `outputs` the
same with what the reference returned besides (`out_…`), `options` the case's hyperparameters, all
of which must be used: `_options.Options`. Where a reference is known to be wrong, the entry is
`Differs`.
"""

import dataclasses
import importlib
import pathlib
import pkgutil
from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Differs:
    """A reference whose number is not what its paper, or its own documentation, states.

    Attributes:
      why: what is wrong with it.
      correct: our value, which must differ from the reference's by more than a thousandth.
      reference: what we must do to arrive at the reference's value, which must be equal.
      at_most: given where the reference only guards against zeros where we need no guard: by how
        much, relative to the reference, our value may then differ at most.
      guards: the hyperparameters that only the reference has a use for.
    """

    why: str
    correct: Call
    reference: Call
    at_most: float | None = None
    guards: tuple[str, ...] = ()


CALLS: dict[str, Call | Differs] = {}
for _module in pkgutil.iter_modules([str(pathlib.Path(__file__).parent)]):
    if _module.name.startswith("_"):
        continue
    _part = importlib.import_module(f"{__name__}.{_module.name}").CALLS
    assert not CALLS.keys() & _part.keys(), CALLS.keys() & _part.keys()
    CALLS |= _part
