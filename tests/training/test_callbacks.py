"""Loggers and callbacks of a run: what they get, when, and how a callback ends it."""

import sys
import types

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxkd
from jaxkd import recipes
from jaxkd.training import Population, fit, logs
from jaxkd.training._history import MetricsHistory
from jaxkd.training._loggers import Loggers

INPUTS = np.random.default_rng(0).normal(size=(8, 8, 6)).astype(np.float32)
BATCHES = [{"inputs": x, "labels": np.arange(8) % 3} for x in INPUTS]
STUDENT = jaxkd.from_function(lambda p, x: x @ p, jnp.zeros((6, 3)))
STEP = jaxkd.make_train_step(STUDENT, recipes.labels(), optax.sgd(0.1))


def train(steps=8, **options):
    given = {"log_every": 2, "eval_every": 4, "progress": None, "tensorboard": False}
    return fit(STEP, STEP.init(), BATCHES, steps=steps, evaluate=score, **given | options)


def score(state):
    return {"norm": jnp.square(state.params["student"]).sum()}


class Recorder:
    """A logger with all methods."""

    def __init__(self):
        self.rows, self.calls = [], []

    def begin(self, step):
        self.calls.append(("begin", step))

    def write(self, step, values, split):
        self.rows.append((split, {"step": step, **values}))

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


def test_loggers_get_every_row_once_in_each_part_of_a_run(tmp_path):
    first, second = Recorder(), Recorder()
    train(4, loggers=[first], workdir=tmp_path)
    result = train(loggers=[second], workdir=tmp_path, checkpoint_every=4)
    for split, rows in (("train", result.train), ("eval", result.eval)):
        assert [row for name, row in first.rows + second.rows if name == split] == rows
    assert first.calls == [("begin", 0), "flush", "close"]
    assert second.calls == [("begin", 4), "flush", "close"]
    assert [type(value) for value in result.eval[0].values()] == [int, float]


def test_a_logger_is_closed_after_an_error_and_may_have_two_methods_alone():
    recorder = Recorder()
    least = types.SimpleNamespace(write=recorder.write, close=recorder.close)

    def fails(event):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        train(loggers=[least], callbacks=[fails])
    assert recorder.calls == ["close"] and [row["step"] for _, row in recorder.rows] == [2]


def test_what_is_no_logger_or_callback_is_refused_with_the_line_to_write():
    for loggers in (Recorder(), [Recorder], [print], "wandb"):
        with pytest.raises(TypeError, match="write loggers="):
            train(loggers=loggers)
    for callbacks in (print, [Recorder], ["print"]):
        with pytest.raises(TypeError, match=r"write callbacks=\[f\]"):
            train(callbacks=callbacks)
    with pytest.raises(TypeError, match="returned 3: a callback returns True to stop"):
        train(callbacks=[lambda event: 3])


def test_an_evaluation_that_is_no_numbers_by_name_is_refused():
    history = MetricsHistory(None, Loggers((), 0), None)
    for wrong in (None, 0.9, {"a": np.ones(2)}, {"a": "good"}, {"a": {"b": 1.0}}):
        with pytest.raises(TypeError, match='write return {"accuracy"'):
            history.add_evaluation(2, wrong)
    for name in ("step", "member"):
        with pytest.raises(ValueError, match=f"'{name}'.*every row has already"):
            history.add_evaluation(2, {name: 3.0})
    assert history.add_evaluation(2, {"a": jnp.bfloat16(0.5)}) == {"a": 0.5}
    assert history.evaluations == [{"step": 2, "a": 0.5}]


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_callbacks_see_the_state_of_the_step_that_the_metrics_are_of(steps_per_call):
    events = []

    def record(event):
        assert int(event.state.step) == event.step and event.steps == 8
        events.append((event.split, {"step": event.step, **event.metrics}))
        with pytest.raises(TypeError, match="does not support item assignment"):
            event.metrics["loss"] = 0.0

    result = train(callbacks=[record], steps_per_call=steps_per_call)
    order = [(split, row["step"]) for split, row in events]
    assert order == [
        ("train", 2), ("train", 4), ("eval", 4), ("train", 6), ("train", 8), ("eval", 8),
    ]  # fmt: skip
    for split, rows in (("train", result.train), ("eval", result.eval)):
        assert [row for name, row in events if name == split] == rows


def test_a_callback_ends_a_run_which_is_then_over_or_goes_on_without_it(tmp_path):
    whole = train()

    def at_6(event):
        return event.step == 6

    for _ in range(2):
        stopped = train(callbacks=[at_6], workdir=tmp_path)
        assert int(stopped.state.step) == 6
        assert [row["step"] for row in stopped.train] == [2, 4, 6]
        # As after a last step.
        assert [row["step"] for row in stopped.eval] == [4, 6]
    result = train(workdir=tmp_path)
    np.testing.assert_array_equal(result.state.params["student"], whole.state.params["student"])
    assert result.train == whole.train


def test_members_of_a_population_have_a_row_each_and_one_event():
    population = Population(
        lambda seed: STUDENT, recipes.labels(), optax.sgd, {"learning_rate": [0.1, 0.2]}
    )
    recorder, events = Recorder(), []
    result = fit(
        population.step, population.init(), BATCHES, steps=2, log_every=2, progress=None,
        loggers=[recorder], callbacks=[events.append],
    )  # fmt: skip
    assert [row for _, row in recorder.rows] == result.train and len(result.train) == 2
    (event,) = events
    assert event.metrics["loss"].tolist() == [row["loss"] for row in result.train]


class Service(types.ModuleType):
    """In the shape of wandb and trackio."""

    def __init__(self, name):
        super().__init__(name)
        self.options, self.logged, self.finished = [], [], 0

    def init(self, **options):
        self.options.append(options)
        return self

    def log(self, metrics, step=None):
        self.logged.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize(("kind", "name"), [(logs.WandB, "wandb"), (logs.Trackio, "trackio")])
def test_services_get_rows_by_split_and_say_what_to_install(monkeypatch, kind, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"logs.{kind.__name__} .*jaxkd-distill\[{name}\]"):
        kind(project="p")
    monkeypatch.setitem(sys.modules, name, service := Service(name))
    logger = kind(project="p")
    assert service.options == []
    train(4, loggers=[logger])
    assert service.options == [{"project": "p"}] and service.finished == 1
    assert [step for step, _ in service.logged] == [2, 4, 4]
    assert {*service.logged[0][1]} == {"train/loss", "train/label", "train/accuracy"}
    assert {*service.logged[2][1]} == {"eval/norm"}
    logger.write(3, {"member": 1, "loss": 2.0}, "train")
    assert service.logged[-1] == (3, {"train/loss/1": 2.0})
