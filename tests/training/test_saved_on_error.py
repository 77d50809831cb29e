"""What a caller's own functions, loggers and batches raise costs no step that was made."""

import csv
import itertools
import signal
import types

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

import jaxkd
from jaxkd import recipes
from jaxkd.training import Interrupted, fit

INPUTS = np.random.default_rng(0).normal(size=(8, 8, 6)).astype(np.float32)
BATCHES = [{"inputs": x, "labels": np.arange(8) % 3} for x in INPUTS]
STUDENT = jaxkd.from_function(lambda p, x: x @ p, jnp.zeros((6, 3)))
STEP = jaxkd.make_train_step(STUDENT, recipes.labels(), optax.sgd(0.1))


def train(workdir, steps=8, batches=BATCHES, **options):
    given = {"log_every": 2, "eval_every": 4, "progress": None, "tensorboard": False}
    given |= {"evaluate": score, "keep_best": "norm"}
    return fit(STEP, STEP.init(), batches, steps=steps, workdir=workdir, **given | options)


def score(state):
    return {"norm": float(jnp.square(state.params["student"]).sum())}


def failing_at(step, function=lambda *_: None):
    """Returns a function that raises an error at a step."""

    def call(first, *others):
        if int(getattr(first, "step", first)) == step:
            raise OSError("of the caller")
        return function(first, *others)

    return call


def interrupted(state):
    raise Interrupted(1, None)


def logger(step):
    return types.SimpleNamespace(write=failing_at(step), close=lambda: None)


@pytest.fixture(scope="module")
def whole():
    return train(None)


FAULTS = {
    "evaluate": (4, lambda: {"evaluate": failing_at(4, score)}),
    "no such metric": (4, lambda: {"evaluate": lambda state: {"accuracy": 0.5}}),
    "a callback": (4, lambda: {"callbacks": [failing_at(4)]}),
    "a logger": (3, lambda: {"loggers": [logger(2)]}),
    "batches": (5, lambda: {"batches": BATCHES[:5]}),
    "the last evaluate": (8, lambda: {"evaluate": failing_at(8, score)}),
    "no numbers": (4, lambda: {"evaluate": lambda state: None}),
    "Ctrl-C in a run inside": (4, lambda: {"evaluate": interrupted}),
    "a logger at the end": (8, lambda: {"loggers": [logger(8)]}),
    "batches of one call": (4, lambda: {"batches": BATCHES[:5], "steps_per_call": 2}),
}


@few("fault", list(FAULTS), keep=5)
def test_the_state_is_saved_and_the_run_goes_on_as_if_nothing_had_been(tmp_path, whole, fault):
    step, options = FAULTS[fault]
    with pytest.raises((Interrupted, OSError, TypeError, ValueError, IndexError)) as error:
        train(tmp_path, **options())
    assert f"after step {step} is saved in {tmp_path}: mend" in error.value.__notes__[-1]
    for _ in range(2):
        result = train(tmp_path)
        np.testing.assert_array_equal(result.state.params["student"], whole.state.params["student"])
        assert (result.train, result.eval) == (whole.train, whole.eval)
        assert int(result.best.step) == int(whole.best.step)


def test_every_logger_gets_the_rows_that_another_one_does_not_take(tmp_path):
    rows = []
    other = types.SimpleNamespace(write=lambda *row: rows.append(row[0]), close=lambda: None)
    with pytest.raises(OSError, match="of the caller"):
        train(tmp_path, loggers=[logger(8), other])
    assert rows == [2, 4, 4, 6, 8, 8]


def test_a_run_that_patience_ended_needs_no_batches_to_return_its_result(tmp_path):
    options = {"keep_best": ("norm", "min"), "patience": 1}
    first = train(tmp_path, batches=itertools.cycle(BATCHES), **options)
    again = train(tmp_path, batches=(batch for batch in ()), **options)
    assert int(first.state.step) == int(again.state.step) == 8 and first.eval == again.eval
    with pytest.raises(ValueError, match="says no position"):
        train(tmp_path, 12, batches=iter(BATCHES), **options | {"patience": 2})


def test_names_of_metrics_may_have_commas_and_line_breaks(tmp_path):
    def named(state):
        return {'a, "b"': 1.0, "c\nd\r\ne\x0b\u2028": float("nan")}

    train(tmp_path, 4, evaluate=named, keep_best=None)
    with open(tmp_path / "eval.csv", encoding="utf-8", newline="") as file:
        assert next(csv.reader(file))[1:] == list(named(None))
    result = train(tmp_path, evaluate=named, keep_best=None)
    assert [row["step"] for row in result.eval] == [4, 8]


def test_an_evaluation_returns_the_same_names_each_time_in_any_order():
    def turned(state):
        names = ["a", "b"] if state.step == 4 else ["b", "a"]
        return dict.fromkeys(names, 1.0)

    assert [list(row) for row in train(None, evaluate=turned, keep_best=None).eval] == [
        ["step", "a", "b"]
    ] * 2
    with pytest.raises(ValueError, match=r"returned \['step 8'\], and \['step 4'\] before"):
        train(None, evaluate=lambda state: {f"step {int(state.step)}": 1.0}, keep_best=None)
    with pytest.raises(TypeError, match="names a number by 1, no text"):
        train(None, evaluate=lambda state: {1: 1.0}, keep_best=None)


@pytest.mark.parametrize(
    "options",
    [
        {"evaluate": lambda state, data: {}},
        {"evaluate": lambda: {"norm": 1.0}},
        {"evaluate": {"norm": 1.0}},
        {"evaluate": dict},
        {"callbacks": [lambda event, state: None]},
    ],
)
def test_functions_of_other_arguments_are_refused_before_anything_runs(options):
    with pytest.raises(TypeError, match="write (lambda (state|event): f|evaluate=jaxkd)"):
        train(None, batches=None, **options)


def test_ctrl_c_after_the_last_step_says_that_all_is_saved(tmp_path):
    def pressed(state):
        signal.raise_signal(signal.SIGINT)
        return score(state)

    with pytest.raises(OSError, match="of the caller"):
        train(tmp_path, 4, evaluate=failing_at(4, score))
    with pytest.raises(Interrupted, match="after step 4, which is saved"):
        train(tmp_path, 4, evaluate=pressed)
