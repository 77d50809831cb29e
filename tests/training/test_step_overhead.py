"""What a call of the step does besides the mathematics, counted rather than timed."""

import sys

import jax
import numpy as np
import optax
import pytest

from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.training import fit
from jaxkd.views import Normalize, Views

PLAIN = Views((Normalize(),))
ADAM = optax.adamw(1e-3)


@pytest.fixture
def trained(images, mlp):
    """A step that has run twice, its state, and a batch."""
    student, objective = mlp(0), recipes.labels()
    step = make_train_step(student, objective, ADAM, views=PLAIN)
    state, batch = step.init(), Loader(images, PLAIN, 32)[0]
    for _ in range(2):
        state, _ = step(state, batch)
    return step, state, batch


def functions_called(call):
    """Names of the Python functions that a call goes through."""
    called = []

    def record(frame, event, _):
        if event == "call":
            called.append(frame.f_code.co_name)

    sys.setprofile(record)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    return result, called


def test_a_call_stays_out_of_python(trained):
    step, state, batch = trained
    _, called = functions_called(lambda: step(state, batch))
    assert not {"step_function", "cache_miss", "prngkeyarray_unflatten"} & set(called), called
    assert len(called) < 20, called


def test_a_step_is_traced_once(images, mlp):
    traced = []

    def loss(student, labels):
        traced.append(1)
        return losses.cross_entropy(student, labels)

    step = make_train_step(mlp(0), Objective(label=Term(loss)), ADAM, views=PLAIN)
    stacked = jax.tree.map(lambda x: x[None], Loader(images, PLAIN, 32)[0])
    traced.clear()
    step.many(step.init(), stacked, 1)  # which also looks for the metrics' names
    step(step.init(), Loader(images, PLAIN, 32)[1])
    assert len(traced) == 1


def test_the_key_is_passed_on(trained):
    step, state, batch = trained
    after, _ = step(state, batch)
    stacked = jax.tree.map(lambda x: x[None], batch)
    assert after.key is state.key
    assert step.many(after, stacked, 1)[0].key is state.key
    assert not state.key.is_deleted()


def test_all_that_a_step_changes_is_updated_in_place(trained):
    step, state, batch = trained
    program = step.lower(state, batch).compile()
    changed = jax.tree.leaves(state.replace(key=()))
    aliased = program.memory_analysis().alias_size_in_bytes
    assert aliased == sum(leaf.nbytes for leaf in changed)
    state, metrics = step(state, batch)
    outputs = len(jax.tree.leaves(program.output_shardings))
    assert outputs == len(changed) + len(metrics)


def test_metrics_of_many_steps_are_one_array(trained):
    step, state, batch = trained
    stacked = jax.tree.map(lambda x: np.stack([x, x, x]), batch)
    state, sums = step.many(state, stacked, 2)
    assert len(jax.tree.leaves(sums)) == 1
    assert set(sums.names) == {"loss", "label", "accuracy"}
    state, sums = step.many(state, stacked, 3, sums)
    assert float(sums["loss"][1]) == 5 and float(sums["accuracy"][1]) == 5 * 32
    assert sums.means()["loss"] == pytest.approx(float(sums["loss"][0]) / 5)


def test_sums_go_in_and_out_of_the_same_program(images, mlp):
    """One program for the first step of an interval, whose sums are zeros, and all others."""
    traces = []

    def loss(student, labels, **options):
        traces.append(len(traces))
        return losses.cross_entropy(student, labels, **options)

    student, objective = mlp(0), Objective(label=Term(loss))
    step, loader = make_train_step(student, objective, ADAM, views=PLAIN), Loader(images, PLAIN, 32)
    state = step.init()
    first = fit(step, state, loader, steps=1, progress=None)
    once = len(traces)
    assert once > 0
    fit(step, first.state, loader, steps=12, log_every=4, progress=None)
    assert len(traces) == once
