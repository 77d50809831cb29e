import collections
import dataclasses

import numpy as np
import pytest

from jaxkd.teachers import from_callable
from jaxkd.teachers._trial import check_teacher

INPUTS = np.random.default_rng(0).normal(size=(8, 3, 4)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(12, 5))


def linear(inputs):
    return inputs.reshape(len(inputs), -1) @ WEIGHTS


def named(function, **options):
    return from_callable(function, name="linear", **options)


def test_outputs_are_named_as_those_of_networks_are():
    Pair = collections.namedtuple("Pair", ["logits", "hidden"])
    Result = dataclasses.make_dataclass("Result", ["logits", "stages", "loss"])

    def names(result, **options):
        return sorted(named(lambda x: result, **options)(INPUTS))

    array = np.ones((8, 2))
    assert names(array) == ["logits"]
    assert names({"a": array, "b": {"c": array}}) == ["a", "b.c"]
    assert names(Pair(array, array)) == ["hidden", "logits"]
    assert names(Result(array, {"1": array}, None)) == ["logits", "stages.1"]
    assert names((array, {"stage3": array})) == ["logits", "stage3"]
    places = {"logits": "0", "deep": "1.stages.0"}
    assert names([array, {"stages": [array]}], outputs=places) == ["deep", "logits"]
    assert names([array], outputs=lambda result: {"logits": result[0]}) == ["logits"]
    with pytest.raises(ValueError, match="the teacher linear returns nothing at '1.other'"):
        names([array, {"stages": [array]}], outputs={"logits": "1.other"})
    with pytest.raises(TypeError, match="the teacher linear returns list.*outputs="):
        names([array])
    with pytest.raises(TypeError, match="the teacher linear returns .* as 'b'.*outputs="):
        names({"a": array, "b": object()})


def test_batches_of_one_size_are_padded_and_cut():
    seen = []

    def four(inputs):
        seen.append(inputs.copy())
        assert len(inputs) == 4
        return linear(inputs)

    teacher = named(four, batch_size=4)
    np.testing.assert_allclose(teacher(INPUTS[:7])["logits"], linear(INPUTS[:7]), rtol=1e-5)
    assert teacher(INPUTS[:7])["logits"].dtype == np.float32
    np.testing.assert_array_equal(seen[1][3], INPUTS[6])
    check_teacher(teacher, INPUTS)


def test_inputs_of_another_kind_and_dictionaries():
    half = named(linear, inputs=lambda x: x / 2)
    np.testing.assert_allclose(half(INPUTS)["logits"], linear(INPUTS) / 2, rtol=1e-5)
    both = named(lambda x: linear(x["image"]) + x["offset"][:, None])
    given = {"image": INPUTS, "offset": np.arange(8.0)}
    assert both(given)["logits"].shape == (8, 5)
    check_teacher(both, given)
    with pytest.raises(ValueError, match="matmul") as error:
        named(linear)(INPUTS[..., :2])
    assert "called with (8, 3, 2) float32" in error.value.__notes__[0]


class Stateful:
    def __init__(self):
        self.calls = 0

    def __call__(self, inputs):
        self.calls += 1
        return linear(inputs) + self.calls


def mutating(inputs):
    inputs -= 1
    return linear(inputs)


@pytest.mark.parametrize(
    "function, message",
    [
        (Stateful(), "differs between two calls"),
        (lambda x: linear(x) - linear(x).mean(0), "depends on the rest of the batch"),
        (lambda x: linear(x) + np.arange(len(x))[:, None], "depends on the order of the batch"),
        (mutating, r"changes its inputs in place: .*x = x - mean"),
        (lambda x: linear(x)[:1], r"shape \(1, 5\) for a batch of 8 examples"),
        (lambda x: linear(x).sum(), r"shape \(\) for a batch of 8 examples"),
        (lambda x: linear(x).argmax(1), "dtype int64; what a student learns from"),
        (lambda x: linear(x) * 1j, "dtype complex128"),
        (lambda x: np.where(x > 1, np.nan, 0), "are not numbers"),
        (lambda x: np.repeat(x[:, 0, :1], len(x), 1), "other shapes for 4 examples"),
    ],
)  # fmt: skip
def test_what_is_no_function_of_each_example_is_refused(function, message):
    with pytest.raises((ValueError, TypeError), match=f"the teacher linear .*{message}"):
        check_teacher(named(function), INPUTS)


def test_memory_that_a_teacher_uses_again_is_copied():
    buffer = np.empty((8, 5))

    def in_place(inputs):
        return np.copyto(buffer, linear(inputs)) or buffer

    first = named(in_place)(INPUTS)["logits"]
    named(in_place)(2 * INPUTS)
    np.testing.assert_allclose(first, linear(INPUTS), rtol=1e-5)


def test_names():
    assert named(linear).fingerprint() == {"name": "linear", "framework": "numpy"}
    with pytest.raises(ValueError, match="a text such as 'resnet50-v2', not ''"):
        from_callable(linear, name="")
    with pytest.raises(TypeError, match="a function of NumPy arrays is wanted, not 'f'"):
        from_callable("f", name="linear")
