"""What every loss makes of hard inputs, low precision and single examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import BATCH, Entry, Inputs, entangled, entries
from contract_calls import QUICK, assert_close, assert_none, evaluated, quick

INF = np.inf
# Rows of four logits, student and teacher.
HARD_ROWS = {
    "gap of 500": ([500, 0, 0, 0], [0, 0, 500, 0]),
    "gap of 500, same side": ([-500, 0, 1, 0], [-500, 1, 0, 0]),
    "gap of 10,000": ([0, -1e4, 0, 0], [-1e4, 0, 0, -1e4]),
    "constant": ([3, 3, 3, 3], [-1, -1, -1, -1]),
    "constant student": ([3, 3, 3, 3], [1, 2, -1, 0]),
    "equal": ([700, 0, -3, 0], [700, 0, -3, 0]),
    "masked on both sides": ([1, -INF, 0, 2], [0, -INF, 3, 1]),
    "two masked on both sides": ([-INF, 0, 1, -INF], [-INF, 2, 0, -INF]),
    "masked in the teacher": ([1, 300, 0, 2], [0, -INF, 3, 1]),
    "two masked in the teacher": ([5, 0, 1, 0], [-INF, 2, 0, -INF]),
    "one class left": ([-INF, 1, -INF, -INF], [-INF, 0, -INF, -INF]),
    "one class left in the teacher": ([2, 0, 1, 0], [0, -INF, -INF, -INF]),
    "lowest float as a mask": ([1, -3e38, 0, 0], [0, -3e38, 2, 0]),
    "zeros": ([0, 0, 0, 0], [0, 0, 0, 0]),
    "ordinary": ([1, 2, 0, -1], [0, 3, -1, 2]),
    "ordinary, again": ([1, 2, 0, -1], [0, 3, -1, 2]),
}
# Batches of features from ordinary ones.
HARD_SIDES = {
    "zeros": np.zeros_like,
    "constant": lambda x: np.full_like(x, 3),
    "tiny": lambda x: 1e-12 * x,
    "large": lambda x: 1e3 * x,
    "opposite": lambda x: -1e3 * x,
    "zero rows": lambda x: np.concatenate([0 * x[:2], x[2:]]),
    "a dead channel": lambda x: x * (np.arange(x.shape[-1]) != 0),
    "equal rows": lambda x: np.broadcast_to(x[:1], x.shape),
    "pairs of equal rows": lambda x: np.repeat(x[::2], 2, axis=0),
    "equal channels": lambda x: np.broadcast_to(x[..., :1], x.shape),
}


def fits(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.asarray(x, like.dtype).reshape(like.shape)


def hard_logits(entry: Entry) -> Inputs:
    """The hard rows in every view of every array, labeled with a class that is not masked."""
    student, teacher = np.array(list(HARD_ROWS.values()), np.float32).swapaxes(0, 1)
    inputs = entry.inputs()

    def everywhere(side, tree):
        def spread(like):
            return fits(np.repeat(side, like.size // side.size, axis=0), like)

        return jax.tree.map(lambda leaf: entry.prepare(spread(leaf)).astype(np.float32), tree)

    each = dict(inputs.each)
    best = np.argmax(teacher, axis=-1).astype(np.int32)
    if "labels" in each:
        each["labels"] = best if each["labels"].ndim == 1 else np.array(jax.nn.softmax(teacher))
    if "sample_ids" in each:
        each["sample_ids"] = np.repeat(best[:, None], 3, axis=1)
    return inputs._replace(
        student=everywhere(student, inputs.student),
        teacher=everywhere(teacher, inputs.teacher),
        each=each,
    )


def not_finite(tree) -> list[str]:
    """Where something is not finite: names of rows, or of everything."""
    bad = set()
    for leaf in jax.tree.leaves(tree):
        fine = np.isfinite(leaf)
        if np.ndim(leaf) == 0:
            bad |= set() if fine else {"value"}
        else:
            bad |= set(np.flatnonzero(~fine.reshape(len(leaf), -1).all(axis=1)))
    names = list(HARD_ROWS)
    return [where if where == "value" else names[where] for where in bad]


@entries(lambda entry: entry.on_classes)
def test_hard_logits_are_finite(entry):
    inputs = hard_logits(entry)
    result = evaluated(entry, inputs)
    for name in result._fields:
        assert not_finite(getattr(result, name)) == [], name


@entries(lambda entry: entry.on_classes and entry.coupled)
@pytest.mark.parametrize("row", HARD_ROWS)
def test_batches_of_one_hard_row_are_finite(entry, row):
    """Every example the same, and that alone."""
    inputs = hard_logits(entry)
    index = list(HARD_ROWS).index(row)
    same = jax.tree.map(lambda x: np.repeat(x[index : index + 1], BATCH, axis=0), inputs[:3])
    assert not_finite(evaluated(entry, Inputs(*same, inputs.shared))) == []
    alone = evaluated(entry, inputs, where=np.arange(BATCH) == index)
    assert not_finite(alone) == []


@entries(lambda entry: not entry.on_classes)
def test_hard_features_are_finite(entry):
    inputs = entry.inputs()
    bad = []
    for name, hard in HARD_SIDES.items():
        student, teacher = (jax.tree.map(hard, side) for side in inputs[:2])
        cases = {
            "student": inputs._replace(student=student),
            "teacher": inputs._replace(teacher=teacher),
            "both": inputs._replace(student=student, teacher=teacher),
            "and equal": inputs._replace(student=student, teacher=student),
        }
        for case, these in cases.items():
            result = evaluated(entry, these)
            bad += [(name, case, x) for x in result._fields if not_finite(getattr(result, x))]
    assert bad == []


@entries()
def test_selecting_one_example_or_none_is_finite(entry):
    inputs = entry.inputs()
    nothing = evaluated(entry, inputs, where=np.zeros(BATCH, bool))
    assert not_finite(nothing) == []
    assert_none((nothing.gradient, nothing.to_teacher, nothing.to_learned_teacher))
    assert not_finite(evaluated(entry, inputs, where=np.arange(BATCH) == 3)) == []


@entries(first=entangled)
def test_one_example_of_two_classes_is_finite(entry):
    inputs = entry.inputs(batch=1, classes=2)
    call = quick(entry)
    cases = {
        "random": inputs,
        "equal": inputs._replace(teacher=inputs.student if entry.has_teacher else None),
        "zero": inputs._replace(student=jax.tree.map(np.zeros_like, inputs.student)),
        "far": inputs._replace(student=jax.tree.map(lambda x: 300 * x, inputs.student)),
    }
    for name, case in cases.items():
        assert not_finite(call(case, {})) == [], name


def low(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), tree)


@entries()
def test_bfloat16_is_computed_in_float32(entry):
    """Nothing but the inputs is rounded."""
    inputs = entry.inputs()
    rough = inputs._replace(student=low(inputs.student), teacher=low(inputs.teacher))
    value = jax.jit(entry.loss, compiler_options=QUICK)(*rough)
    assert value.dtype == jnp.float32
    gradient = jax.eval_shape(
        jax.grad(lambda student: jnp.sum(entry.loss(student, *rough[1:]))), rough.student
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)}
    widened = jax.tree.map(lambda x: np.asarray(x, np.float32), rough[:2])
    assert_close(value, evaluated(entry, Inputs(*widened, *inputs[2:])).value, entry.scale)


@pytest.mark.exhaustive
@entries()
def test_bfloat16_is_near_float64(entry):
    inputs = entry.inputs()

    def high(tree):
        return jax.tree.map(
            lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x, tree
        )

    def both(rough, exact):
        return entry.loss(*rough), entry.loss(*exact)

    rough = inputs._replace(student=low(inputs.student), teacher=low(inputs.teacher))
    with jax.enable_x64(True):
        exact = jax.tree.map(jnp.asarray, high(inputs))
        value, expected = jax.device_get(jax.jit(both, compiler_options=QUICK)(rough, exact))
    assert value.dtype == jnp.float32
    assert expected.dtype == jnp.float64
    np.testing.assert_allclose(np.mean(value), np.mean(expected), rtol=0.01, atol=1e-6)


@functools.cache
def example(entry: Entry) -> Inputs:
    return entry.inputs()


@entries(
    lambda entry: entry.has_temperature,
    first=lambda entry: entry.name in ("kl_divergence", "kd", "dkd", "ttm", "sdd", "crd"),
)
def test_traced_temperature(entry):
    for temperature in (0.5, 2.0):
        traced = evaluated(entry, example(entry), temperature=temperature).value
        concrete = entry.loss(*example(entry), temperature=temperature)
        assert_close(traced, concrete, entry.scale)


@entries(lambda entry: "labels" in entry.each.__name__ and not entry.variant)
def test_examples_without_a_label_are_finite(entry):
    inputs = entry.inputs()
    ids = inputs.each["labels"]
    for unlabeled in (np.where(np.arange(BATCH) % 2, ids, -1), np.full_like(ids, -1)):
        result = evaluated(entry, inputs._replace(each={"labels": unlabeled.astype(np.int32)}))
        assert not_finite(result) == []
