"""What every loss of the library promises, whatever it computes."""

import inspect
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import (
    BATCH,
    CLASSES,
    ENTRIES,
    HELPERS,
    LEARNED_TEACHER,
    ON_TOKENS,
    Inputs,
    entries,
    float_values,
)
from contract_calls import (
    QUICK,
    assert_close,
    assert_none,
    evaluated,
    quick,
    rows,
    usual,
)

from jaxkd import losses


def public_functions():
    return {
        name
        for name, value in vars(losses).items()
        if not name.startswith("_") and inspect.isfunction(inspect.unwrap(value))
    } | {name for name, value in vars(losses).items() if isinstance(value, jax.custom_jvp)}


def test_every_public_loss_is_held_to_the_contract():
    named = {entry.name for entry in ENTRIES}
    exempt = {*HELPERS, *ON_TOKENS}
    assert public_functions() - named - exempt == set(), "add them to contract.py"
    assert named <= public_functions()
    assert not named & exempt
    assert exempt <= public_functions()
    assert {name for name in named if f"`{name}`" not in losses.__doc__} == set()


def test_every_module_of_losses_has_a_public_loss():
    folder = pathlib.Path(losses.__file__).parent
    modules = {path.stem for path in folder.glob("*/[a-z]*.py")}
    homes = {getattr(losses, name).__module__.rpartition(".")[2] for name in public_functions()}
    assert modules - homes == set(), "add its names to __all__ of its package"


@pytest.mark.parametrize("name", HELPERS)
def test_no_helper_compares_a_student_with_a_teacher(name):
    parameters = set(inspect.signature(getattr(losses, name)).parameters)
    assert not {"student", "teacher"} <= parameters


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_losses_of_a_batch_declare_themselves(entry):
    declared = getattr(getattr(losses, entry.name), "loss_kind", None)
    assert declared == ("batch" if entry.scalar else None)


@entries()
def test_the_value_has_its_shape_and_dtype(entry):
    chex.assert_shape(usual(entry).value, entry.value_shape)
    chex.assert_type(jax.tree.leaves(usual(entry)), jnp.float32)


@entries(first=lambda entry: entry.name in ("kl_divergence", "dkd", "nkd", "at", "rkd_distance"))
def test_eager_is_jitted(entry):
    value = entry.loss(*entry.inputs())
    chex.assert_type(value, jnp.float32)
    assert_close(usual(entry).value, value, entry.scale)


@entries(first=lambda entry: entry.name in ("kd", "dkd", "at", "rkd"))
def test_students_in_front_under_vmap(entry):
    inputs = entry.inputs()
    others = inputs._replace(student=entry.inputs(seed=1).student)
    students = jax.tree.map(lambda *x: np.stack(x), inputs.student, others.student)

    def call(student):
        return entry.loss(student, *inputs[1:])

    together = jax.jit(jax.vmap(call), compiler_options=QUICK)(students)
    one_by_one = np.stack([usual(entry).value, evaluated(entry, others).value])
    assert_close(together, one_by_one, entry.scale)


@entries(lambda entry: entry.has_teacher)
def test_zero_at_equality(entry):
    inputs = entry.inputs()
    if entry.on_classes and "labels" in inputs.each:
        # A teacher that is right: the last class is everywhere the likeliest.
        last = {"labels": np.full(BATCH, CLASSES - 1, np.int32)}
        inputs = inputs._replace(student=np.sort(inputs.student, axis=-1), each=last)
    equal = evaluated(entry, inputs._replace(teacher=inputs.student))
    size = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(usual(entry).gradient))
    if entry.not_zero is None:
        np.testing.assert_allclose(equal.value, 0, atol=1e-6 * entry.scale)
    else:
        assert np.max(np.abs(equal.value)) > 1e-4
    if entry.not_zero is None or entry.still:
        for leaf in jax.tree.leaves(equal.gradient):
            np.testing.assert_allclose(leaf, 0, atol=1e-6 * (entry.scale + size))


@entries(lambda entry: entry.has_teacher)
def test_no_gradient_reaches_the_teacher(entry):
    assert_none(usual(entry).to_teacher)


def test_no_other_losses_have_a_teacher_that_is_learned():
    assert {entry.name for entry in ENTRIES if entry.may_learn_teacher} == LEARNED_TEACHER


@entries(lambda entry: entry.may_learn_teacher)
def test_a_teacher_that_is_learned_receives_a_gradient(entry):
    for leaf in jax.tree.leaves(usual(entry).to_learned_teacher):
        assert np.max(np.abs(leaf)) > 1e-5


@entries()
def test_every_student_array_has_a_gradient(entry):
    for leaf in jax.tree.leaves(usual(entry).gradient):
        assert np.max(np.abs(leaf)) > 1e-5


@entries(lambda entry: entry.variant == "distribution" or entry.each is float_values)
def test_labels_are_constants(entry):
    student, teacher, each, shared = entry.inputs()
    gradient = jax.grad(lambda each: jnp.sum(entry.loss(student, teacher, each, shared)))(each)
    assert_none(gradient)


def with_rubbish(inputs: Inputs, where: np.ndarray, number: float, index: int) -> Inputs:
    """Arbitrary values in all rows but those selected."""

    def spoiled(leaf):
        filler = index if np.issubdtype(leaf.dtype, np.integer) else number
        mask = where.reshape(-1, *(1,) * (leaf.ndim - 1))
        return np.where(mask, leaf, np.asarray(filler, leaf.dtype))

    return inputs._replace(
        **{name: jax.tree.map(spoiled, getattr(inputs, name)) for name in inputs._fields[:3]}
    )


@entries()
def test_rows_that_take_no_part_touch_nothing(entry):
    inputs = entry.inputs()
    where = np.arange(BATCH) % 3 != 1
    clean = evaluated(entry, inputs, where=where)
    value, gradient = clean.value, clean.gradient
    # In all other places nothing but zeros.
    assert_none(rows(gradient, ~where))
    if not entry.scalar:
        assert_none(value[~where])
    if entry.coupled:
        part = Inputs(*(rows(x, where) for x in inputs[:3]), inputs.shared)
        expected = quick(entry)(part, {})
        actual = value if entry.scalar else value[where], rows(gradient, where)
        assert_close(actual, expected, entry.scale)
    else:
        chex.assert_trees_all_equal(value[where], usual(entry).value[where])
        chex.assert_trees_all_equal(rows(gradient, where), rows(usual(entry).gradient, where))
    for number, index in ((np.nan, -1), (np.inf, 0), (-np.inf, 999)):
        spoiled = evaluated(entry, with_rubbish(inputs, where, number, index), where=where)
        chex.assert_trees_all_equal(spoiled, clean)


@entries(lambda entry: entry.has_temperature)
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), np.float32(0)])
def test_impossible_temperatures_are_refused(entry, temperature):
    with pytest.raises(ValueError, match=f"positive and finite, got {float(temperature)}"):
        entry.loss(*entry.inputs(), temperature=temperature)


@entries(lambda entry: entry.has_temperature)
def test_temperature_is_a_scalar(entry):
    with pytest.raises(ValueError, match="scalar"):
        entry.loss(*entry.inputs(), temperature=jnp.ones(4))


@entries(lambda entry: entry.has_teacher or entry.each)
def test_batches_that_differ_are_refused(entry):
    inputs = entry.inputs()
    short = rows(inputs.teacher, slice(3)) if entry.has_teacher else None
    each = inputs.each if entry.has_teacher else rows(inputs.each, slice(3))
    with pytest.raises(ValueError, match=r"(?s)\(16,.*\(3,|\(3,.*\(16,"):
        entry.loss(inputs.student, short, each, inputs.shared)


@entries()
def test_masks_that_do_not_fit_are_refused(entry):
    with pytest.raises(ValueError, match=r"\(3,\) does not broadcast to .*\(16,\)"):
        entry.loss(*entry.inputs(), where=np.ones(3, bool))
    with pytest.raises(ValueError, match="boolean"):
        entry.loss(*entry.inputs(), where=np.ones(BATCH, np.float32))
