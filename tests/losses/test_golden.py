"""Values and gradients of the authors' published code, computed once and stored beside the tests.

`golden_calls.CALLS` maps a method of the index to the call that should give the same number; a
method of the index that it lacks fails. `JAXKD_GOLDEN_DIR` names another set of the same layout.
Floating-point inputs are arguments of one compiled function, integers (labels, ids, byte offsets)
constants of it: NumPy arrays, which a call may also work on before anything is traced.
"""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_calls import CALLS, Differs

DIRECTORY = pathlib.Path(
    os.environ.get("JAXKD_GOLDEN_DIR", pathlib.Path(__file__).parents[1] / "golden")
)
METHODS = json.loads((DIRECTORY / "index.json").read_text())["methods"]
RELATIVE_TOLERANCE = 1e-8
# Of the largest gradient of a case: what rounding leaves of a gradient that is 0 by the mathematics
# (a bias before batch normalisation).
ROUNDING = 1e-12


def _cases(method):
    """The arrays of each case of a method, by name."""
    with np.load(DIRECTORY / method["file"]) as archive:
        arrays = dict(archive)
    return [
        {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix := f"case{case['case']}/")
        }
        for case in method["cases"]
    ]


def _floats(arrays):
    return {name: a for name, a in arrays.items() if np.issubdtype(a.dtype, np.floating)}


def _evaluate(call, arrays, hyperparameters):
    """The value, other outputs, and the gradient to each input that the reference has one for."""
    moving = {name: array for name, array in arrays.items() if f"grad_{name}" in arrays}

    def value_and_others(moving):
        result = call(arrays | moving, outputs=arrays, **hyperparameters)
        return result if isinstance(result, tuple) else (result, {})

    (value, others), gradients = jax.value_and_grad(value_and_others, has_aux=True)(moving)
    return value, others, gradients


def _largest(array):
    return np.max(np.abs(array), initial=np.finfo(np.float64).tiny)


def _close(got, expected, what, rounding=0.0):
    """Relative to the largest entry: the small ones of a gradient are differences of large ones."""
    tolerance = max(RELATIVE_TOLERANCE * _largest(expected), rounding)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=what)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["method"])
def test_equals_the_reference(method):
    assert method["method"] in CALLS, f"no call is mapped to {method['method']}"
    call, cases = CALLS[method["method"]], _cases(method)
    differs = call if isinstance(call, Differs) else None
    if differs:
        call = differs.reference
    hyperparameters = [case["hyperparameters"] for case in method["cases"]]

    @jax.jit
    def evaluate(floats):
        inputs = [constant | moving for constant, moving in zip(cases, floats, strict=True)]
        results = [_evaluate(call, *case) for case in zip(inputs, hyperparameters, strict=True)]
        if differs is None:
            return results, None
        return results, [
            differs.correct(arrays, outputs=arrays, **settings)
            for arrays, settings in zip(inputs, hyperparameters, strict=True)
        ]

    with jax.enable_x64(True):
        results, corrected = evaluate([_floats(arrays) for arrays in cases])
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
            references = [float(arrays["value"]) for arrays in cases]
            difference = np.abs(np.array(corrected) - references) / np.abs(references)
            if differs.at_most is None:
                assert np.max(difference) > 1e-3, "the reference is said to be wrong and is not"
            else:
                assert np.max(difference) < differs.at_most, differs.why


def test_every_file_is_in_the_index():
    assert {path.name for path in DIRECTORY.glob("*.npz")} == {m["file"] for m in METHODS}
