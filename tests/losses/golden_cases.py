"""The stored reference numbers, and how a call of `golden_calls` is made on a case of them."""

import json
import pathlib

import jax
import numpy as np
from golden_calls._options import Inputs, Options

# Accepted by the reference at any value, and of no effect on its result at any: why.
WITHOUT_EFFECT = {
    "sparse_tvd": {"eps": "DistillKit only requires the temperature to be larger"},
}
HERE = pathlib.Path(__file__).parents[1] / "golden"


def methods(directory=HERE):
    """The entries of the index of a set of reference numbers."""
    return json.loads((directory / "index.json").read_text(encoding="utf-8"))["methods"]


def arrays_of(method, directory=HERE):
    """The arrays of each case of a method, by name."""
    with np.load(directory / method["file"]) as archive:
        arrays = dict(archive)
    return [
        {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix := f"case{case['case']}/")
        }
        for case in method["cases"]
    ]


def options_of(method):
    """The hyperparameters of each case of a method."""
    return [Options(method["method"], case["hyperparameters"]) for case in method["cases"]]


def floats(arrays):
    """The arrays that a compiled function gets as arguments; all others are constants of it."""
    return {name: a for name, a in arrays.items() if np.issubdtype(a.dtype, np.floating)}


def assert_all_used(name, options, but=()):
    """Fails if a call has left a hyperparameter unused in every case that has it.

    Args:
      name: of the method.
      options: of each case, after the call.
      but: names of hyperparameters that the call need not use.
    """
    but = {*but, *WITHOUT_EFFECT.get(name, ())}
    names = {name for of_case in options for name in of_case.names}
    used = {name for of_case in options for name in of_case.names - of_case.unused()}
    unused = sorted(names - used - but)
    assert not unused, f"the call mapped to {name!r} ignores its hyperparameters {unused}"


def call_on(call, arrays, outputs, options):
    """The value and the other outputs by their names.

    Args:
      call: of `golden_calls`.
      arrays: by name; may be traced.
      outputs: the same, with what the reference returned.
      options: `Options`.
    """
    result = call(Inputs(arrays), outputs=outputs, options=options.again())
    return result if isinstance(result, tuple) else (result, {})


def evaluate(call, arrays, options):
    """The value, other outputs, and the gradient to each input that the reference has one for."""
    moving = {name: array for name, array in arrays.items() if f"grad_{name}" in arrays}

    def of_moving(moving):
        return call_on(call, arrays | moving, arrays, options)

    (value, others), gradients = jax.value_and_grad(of_moving, has_aux=True)(moving)
    return value, others, gradients
