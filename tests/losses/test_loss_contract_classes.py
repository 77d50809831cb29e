"""Masks of classes and class axes, for the losses on logits that have them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import BATCH, CLASSES, ENTRIES, Inputs, entries
from contract_calls import QUICK, assert_close, quick, usual
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses

KEEP = np.array([True, True, False, True, False, True])


def widened(inputs: Inputs) -> Inputs:
    """The same inputs with invalid values at the classes that are masked."""

    def filled(values, filler):
        wide = np.full((*values.shape[:-1], len(KEEP)), filler, values.dtype)
        wide[..., KEEP] = values
        return wide

    each, shared = dict(inputs.each), dict(inputs.shared)
    for name in {"labels", "sample_ids"} & set(each):
        is_id = np.issubdtype(each[name].dtype, np.integer)
        each[name] = (
            np.flatnonzero(KEEP)[each[name]].astype(np.int32) if is_id else filled(each[name], 0.0)
        )
    if "relevance" in each:
        each["relevance"] = filled(each["relevance"], 1)
    if "cost" in shared:
        shared["cost"] = filled(filled(shared["cost"], 7.0).T, 7.0).T
    teacher = None if inputs.teacher is None else filled(inputs.teacher, -np.inf)
    return Inputs(filled(inputs.student, np.nan), teacher, each, shared)


with_axis = entries(lambda entry: entry.has_class_axis)


@with_axis
def test_masked_classes_are_as_if_removed(entry):
    wide, where = widened(entry.inputs()), np.broadcast_to(KEEP, (BATCH, len(KEEP)))
    call = quick(entry)
    value, gradient = call(wide, {"where": where})
    expected = usual(entry)
    assert_close((value, gradient[:, KEEP]), (expected.value, expected.gradient), entry.scale)
    np.testing.assert_array_equal(gradient[:, ~KEEP], 0)
    # An example without any class is no loss.
    gap = np.where(np.arange(BATCH)[:, None] == 1, False, where)
    value, gradient = call(wide, {"where": gap})
    assert value[1] == 0
    np.testing.assert_array_equal(gradient[1], 0)
    chex.assert_tree_all_finite((value, gradient))


def test_masks_of_classes_broadcast_over_examples():
    student, teacher = np.random.default_rng(0).normal(size=(2, BATCH, len(KEEP)))
    everywhere = losses.kd(student, teacher, where=np.broadcast_to(KEEP, student.shape))
    chex.assert_trees_all_equal(losses.kd(student, teacher, where=KEEP[None]), everywhere)


@with_axis
def test_class_axis(entry):
    student, teacher, each, shared = entry.inputs()
    expected = usual(entry).value
    on_axis = ("labels", "relevance")
    turned = {name: x.T if name in on_axis and x.ndim == 2 else x for name, x in each.items()}
    for axis in (0, -2):
        value = entry.loss(
            student.T, None if teacher is None else teacher.T, turned, shared, axis=axis
        )
        assert_close(value, expected, entry.scale)
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f"axis {axis} is out of range"):
            entry.loss(student, teacher, each, shared, axis=axis)


@entries(lambda entry: entry.has_class_axis and entry.has_teacher)
def test_class_counts_that_differ_are_named(entry):
    student, teacher, each, shared = entry.inputs()
    with pytest.raises(ValueError, match=r"4 classes and teacher 3.*\(16, 4\).*\(16, 3\)"):
        entry.loss(student, teacher[:, :3], each, shared)
    with pytest.raises(ValueError, match="rank"):
        entry.loss(student, teacher[0], each, shared)


@with_axis
@pytest.mark.parametrize(
    "where", [np.ones((2, BATCH, CLASSES), bool), np.array(True)], ids=["3", "0"]
)
def test_masks_of_another_rank_are_refused(entry, where):
    with pytest.raises(ValueError, match="rank of the logits"):
        entry.loss(*entry.inputs(), where=where)


ALL = [entry for entry in ENTRIES if entry.has_class_axis]


def _all_losses(cases, temperature):
    def total(students):
        values = {}
        for entry in ALL:
            keywords = {"temperature": temperature} if entry.has_temperature else {}
            values[str(entry)] = entry.loss(students, *cases[str(entry)], **keywords)
        return sum(map(jnp.sum, values.values())), values

    gradient, values = jax.grad(total, has_aux=True)(cases["student"])
    return values, gradient


all_losses = jax.jit(_all_losses, compiler_options=QUICK)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(1, 2), (2, 5)]),
    temperature=st.floats(0.125, 100.0, width=32),
    scale=st.floats(0.0, 1000.0),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_logits_give_finite_losses_that_are_not_negative(shape, temperature, scale, seed):
    """Two classes and a batch of one included."""
    student, teacher = scale * np.random.default_rng(seed).normal(size=(2, *shape))
    cases = {}
    for entry in ALL:
        inputs = entry.inputs(seed, *shape)
        cases[str(entry)] = (teacher if entry.has_teacher else None, *inputs[2:])
    values, gradient = all_losses({"student": student, **cases}, temperature)
    chex.assert_tree_all_finite((values, gradient))
    for entry in ALL:
        value = values[str(entry)]
        chex.assert_shape(value, shape[:-1])
        # The rounding error of a divergence, which factors multiply.
        assert jnp.min(value) >= -1e-6 * entry.scale * max(1, temperature**2), str(entry)
