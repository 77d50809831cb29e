"""Values and gradients of the authors' published code, computed once and stored beside the tests.

`golden_calls.CALLS` maps a method of the index to the call that should give the same number; a
method of the index that it lacks fails, and so does a call that does not use each hyperparameter of
its entry. `JAXKD_GOLDEN_DIR` names another set of the same layout. Floating-point inputs are
arguments of one compiled function, integers (labels, ids, byte offsets) constants of it: NumPy
arrays, which a call may also work on before anything is traced.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from golden_calls import CALLS, Differs
from golden_cases import (
    HERE,
    arrays_of,
    assert_all_used,
    call_on,
    evaluate,
    floats,
    methods,
    options_of,
)
from tiers import few

DIRECTORY = pathlib.Path(os.environ.get("JAXKD_GOLDEN_DIR", HERE))
METHODS = methods(DIRECTORY)
RELATIVE_TOLERANCE = 1e-8
# Of the largest gradient of a case: what rounding leaves of a gradient that is 0 by the mathematics
# (a bias before batch normalization).
ROUNDING = 1e-12


def _largest(array):
    return np.max(np.abs(array), initial=np.finfo(np.float64).tiny)


def _close(got, expected, what, rounding=0.0):
    """Relative to the largest entry: the small ones of a gradient are differences of large ones."""
    tolerance = max(RELATIVE_TOLERANCE * _largest(expected), rounding)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=what)


def _one_of_each(method):
    """The method with a case for each setting of its switches.

    Case "odd" comes first, which stands off most defaults: its temperature is not 1.
    """
    distinct = {}
    for case in sorted(method["cases"], key=lambda case: case["kind"] != "odd"):
        switches = {
            name: value
            for name, value in case["hyperparameters"].items()
            if isinstance(value, (bool, str, dict, type(None)))
        }
        distinct.setdefault(repr(sorted(switches.items())), case)
    return method | {"cases": list(distinct.values())}


# Further sets of one method: of another library, or with other options of all its parts.
FURTHER = [method for method in METHODS if "__" in method["method"]]
ORDERED = [*(method for method in METHODS if method not in FURTHER), *FURTHER]


@few("every_case", [False, True], ids=["few_cases", "every_case"])
@few("method", ORDERED, keep=len(METHODS) - len(FURTHER), ids=lambda method: method["method"])
def test_equals_the_reference(method, every_case):
    assert method["method"] in CALLS, f"no call is mapped to {method['method']}"
    # How a reference differs is checked over all cases together.
    all_cases = every_case or isinstance(CALLS[method["method"]], Differs)
    assert_reference(method if all_cases else _one_of_each(method))


def assert_reference(method):
    """Fails unless the call gives the numbers of each case, and uses each hyperparameter."""
    call, cases = CALLS[method["method"]], arrays_of(method, DIRECTORY)
    differs = call if isinstance(call, Differs) else None
    if differs:
        call = differs.reference
    options, options_of_correct = options_of(method), options_of(method)

    @jax.jit
    def evaluate_all(moving):
        inputs = [arrays | of_case for arrays, of_case in zip(cases, moving, strict=True)]
        results = [evaluate(call, *case) for case in zip(inputs, options, strict=True)]
        if differs is None:
            return results, None
        return results, [
            call_on(differs.correct, arrays, arrays, chosen)[0]
            for arrays, chosen in zip(inputs, options_of_correct, strict=True)
        ]

    with jax.enable_x64(True):
        results, corrected = evaluate_all([floats(arrays) for arrays in cases])
        assert_all_used(method["method"], options)
        for case, arrays, result in zip(method["cases"], cases, results, strict=True):
            value, others, gradients = result
            assert value.dtype == jnp.float64
            _close(value, arrays["value"], f"value, case {case['kind']}")
            assert bool(gradients) == method["has_gradients"]
            expected = {name: array for name, array in arrays.items() if name.startswith("grad_")}
            assert expected.keys() == {f"grad_{name}" for name in gradients}
            rounding = ROUNDING * max(map(_largest, expected.values()), default=0.0)
            for name, gradient in gradients.items():
                what = f"grad_{name}, case {case['kind']}"
                _close(gradient, expected[f"grad_{name}"], what, rounding)
            for name, other in others.items():
                _close(other, arrays[name], f"{name}, case {case['kind']}")

        if corrected is not None:
            assert_all_used(method["method"], options_of_correct, but=differs.guards)
            references = [float(arrays["value"]) for arrays in cases]
            difference = np.abs(np.array(corrected) - references) / np.abs(references)
            if differs.at_most is None:
                assert np.max(difference) > 1e-3, "the reference is said to be wrong and is not"
            else:
                assert np.max(difference) < differs.at_most, differs.why


def test_every_file_is_in_the_index():
    assert {path.name for path in DIRECTORY.glob("*.npz")} == {m["file"] for m in METHODS}
