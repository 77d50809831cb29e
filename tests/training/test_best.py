"""The best state of a run is kept, and a run that gets no better ends, killed in between or not."""

import os
import pathlib
import signal
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

import jaxkd
from jaxkd import recipes
from jaxkd.data import Dataset
from jaxkd.metrics import MeanSquaredError
from jaxkd.training import Interrupted, Population, Preempted, evaluator, fit, make_eval_step
from jaxkd.training._best import Criterion

INPUTS = np.random.default_rng(0).normal(size=(12, 8, 6)).astype(np.float32)
BATCHES = [{"inputs": x, "labels": np.arange(8) % 3} for x in INPUTS]
STUDENT = jaxkd.from_function(lambda p, x: x @ p, jnp.zeros((6, 3)))
STEP = jaxkd.make_train_step(STUDENT, recipes.labels(), optax.adam(0.1))
# Of the evaluations after 2, 4, … steps.
SCORES = [0.2, float("nan"), 0.5, 0.4, 0.5, 0.3]


def score(state):
    value = SCORES[int(state.step) // 2 - 1]
    return {"accuracy": value, "cross_entropy": 1 - value}


class Killed(BaseException):
    """Ends a run as a kill does: nothing is saved after it."""


class Stopping(list):
    """Batches of which one sends a signal, or ends the process as a kill would."""

    at = None

    def __getitem__(self, step):
        if self.at is not None and step == self.at[0]:
            if self.at[1] is None:
                raise Killed("killed")
            os.kill(os.getpid(), self.at[1])
        return super().__getitem__(step)


def train(at=None, steps=12, step=STEP, **options):
    batches = Stopping(BATCHES)
    batches.at = at
    given = {"log_every": 1, "eval_every": 2, "progress": None, "tensorboard": False}
    given |= {"keep_best": "accuracy", "evaluate": score}
    return fit(step, step.init(), batches, steps=steps, **given | options)


def as_arrays(result):
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        (result.state, result.best),
    )


def check_same(one, other):
    chex.assert_trees_all_equal(as_arrays(one), as_arrays(other))
    assert repr((one.train, one.eval)) == repr((other.train, other.eval))


CRITERIA = [("accuracy", 6), (("cross_entropy", "min"), 6), (("accuracy", "min"), 2)]


@few("in_files", [True, False])
@few(("keep_best", "step"), CRITERIA, keep=2)
def test_the_first_of_the_best_evaluations_is_kept(tmp_path, keep_best, step, in_files):
    result = train(keep_best=keep_best, workdir=tmp_path if in_files else None)
    short = train(steps=step, keep_best=None)
    chex.assert_trees_all_equal(result.best.params, short.state.params)
    assert int(result.best.step) == step and int(result.state.step) == 12
    assert f"best: of step {step}" in repr(result)
    assert short.best is None
    # The last one is the best one, and an evaluation without a number never is.
    last = train(steps=6, keep_best=keep_best) if step == 6 else None
    assert last is None or last.best is last.state
    assert train(steps=4, evaluate=lambda state: {"accuracy": float("nan")}).best is None


def test_patience_ends_a_run_which_goes_on_with_more(tmp_path, capsys):
    whole = train(patience=3)
    assert int(whole.state.step) == 12
    short = train(patience=2, workdir=tmp_path, progress="training")
    assert int(short.state.step) == 10 and int(short.best.step) == 6
    assert "ended after step 10: no better accuracy in 2 evaluations since step 6" in (
        capsys.readouterr().err
    )
    check_same(train(at=(0, None), patience=2, workdir=tmp_path), short)
    check_same(train(patience=3, workdir=tmp_path), whole)


KILLS = [(5, None), (7, signal.SIGTERM), (6, signal.SIGINT)]
EVERY = [(k, s) for k in range(1, 10) for s in (None, signal.SIGTERM, signal.SIGINT)]
EVERY = [*KILLS, *(at for at in EVERY if at not in KILLS)]


@few("at", EVERY, keep=3)
def test_a_run_that_is_stopped_anywhere_ends_with_the_same_best_state(tmp_path, at):
    options = {"patience": 2, "checkpoint_every": 4}
    whole = train(**options)
    with pytest.raises((Killed, Preempted, Interrupted), match="killed|stopped by"):
        train(at=at, workdir=tmp_path, **options)
    check_same(train(workdir=tmp_path, **options), whole)
    assert [path.name for path in (tmp_path / "best").iterdir() if path.is_dir()] == ["6"]


def test_a_best_state_that_is_not_there_is_begun_anew_with_a_warning(tmp_path):
    train(steps=6, keep_best=None, workdir=tmp_path)
    for _ in range(2):
        with pytest.warns(UserWarning, match="of step 6, is not there.*after step 6"):
            result = train(steps=6, workdir=tmp_path)
        assert result.best is None
    with pytest.warns(UserWarning, match="is not there"):
        assert int(train(workdir=tmp_path).best.step) == 10
    assert int(train(workdir=tmp_path).best.step) == 10


KNOWN = {"name": "n", "split": "test", "num_classes": 3}
EVALUATOR = evaluator(
    make_eval_step(STUDENT), Dataset.from_arrays(INPUTS[0], np.arange(8) % 3, **KNOWN)
)


def test_a_metric_of_an_evaluator_says_its_direction():
    """A loss is kept where it is lowest, without a word; a word is obeyed."""
    given = {"patience": None, "evaluate": EVALUATOR, "repeats": True, "members": None}
    assert Criterion.from_arguments("cross_entropy", **given).mode == "min"
    assert Criterion.from_arguments("accuracy", **given).mode == "max"
    assert Criterion.from_arguments(("cross_entropy", "max"), **given).mode == "max"
    errors = make_eval_step(STUDENT, {"wrong": MeanSquaredError()})
    given["evaluate"] = evaluator(errors, EVALUATOR.evaluated.dataset)
    assert Criterion.from_arguments("wrong", **given).mode == "min"


REFUSED = {
    "a loss": ({"keep_best": "cross_entropy"}, r"keep_best=\('cross_entropy', 'min'\)"),
    "an abbreviation": ({"keep_best": "val/rmse"}, r"keep_best=\('val/rmse', 'min'\)"),
    "another word": ({"keep_best": ("accuracy", "high")}, "must end in 'min' or 'max', not 'high'"),
    "no evaluation": ({"evaluate": None}, "needs evaluations: give fit"),
    "not measured": (
        {"keep_best": "acuracy", "evaluate": EVALUATOR},
        "does not measure; did you mean 'accuracy'",
    ),
    "no metric": ({"keep_best": "f1"}, r"names 'f1', and evaluate returned \['accuracy'"),
    "patience alone": ({"keep_best": None, "patience": 2}, "patience=2 needs a metric"),
    "no patience": ({"patience": 0}, "at least 1 evaluation, not 0"),
    "one evaluation": ({"patience": 1, "eval_every": None}, "give fit.*eval_every="),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_with_what_to_write(case):
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_kinds_that_cannot_be_kept_are_refused():
    with pytest.raises(TypeError, match="must be the name of a metric, not 3"):
        train(keep_best=3)
    with pytest.raises(TypeError, match="patience must be an integer, not 1.5"):
        train(patience=1.5)
    population = Population(
        lambda seed: STUDENT, recipes.labels(), optax.sgd, {"learning_rate": [0.1, 0.2]}
    )
    with pytest.raises(ValueError, match="for one student, and 2 train here"):
        fit(
            population.step, population.init(), BATCHES, steps=1, evaluate=score,
            keep_best="accuracy", progress=None,
        )  # fmt: skip


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="after step 4, which is saved in .*call fit again"):
        train(at=(3, signal.SIGINT), workdir=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert "Ctrl-C again stops at once" in capsys.readouterr().err
    check_same(train(workdir=tmp_path), train())
    with pytest.raises(KeyboardInterrupt, match="was not saved.*stopped.state") as stopped:
        train(at=(3, signal.SIGINT))
    assert int(stopped.value.state.step) == 4
    chex.assert_trees_all_equal(stopped.value.state.params, train(steps=4).state.params)


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def twice(event):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        train(callbacks=[twice], workdir=tmp_path)
    assert not isinstance(stopped.value, Interrupted)
    assert not list(pathlib.Path(tmp_path / "checkpoints").glob("[0-9]*"))


def test_signals_are_left_alone_in_another_thread_and_where_they_are_ignored():
    handlers = []

    def look(event):
        handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: train(steps=1, callbacks=[look], keep_best=None))
    thread.start()
    thread.join()
    assert {*handlers} == {before}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        handlers.clear()
        train(steps=1, callbacks=[look], keep_best=None)
        assert {*handlers} == {signal.SIG_IGN}
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_after_the_last_step_is_not_lost():
    class Late:
        """A logger that is closed while the signal arrives."""

        def write(self, step, values, split):
            pass

        def close(self):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(loggers=[Late()])


def test_a_population_of_one_names_the_metrics_that_it_is_measured_by():
    population = Population(
        lambda seed: STUDENT, recipes.labels(), optax.sgd, {"learning_rate": [0.1]}
    )
    rows = Dataset.from_arrays(np.eye(6, dtype=np.float32), np.arange(6) % 3, **KNOWN)
    evaluate = population.evaluator(rows, metrics={"error": MeanSquaredError()})
    with pytest.raises(ValueError, match="names 'accuracy', .*error"):
        fit(
            population.step, population.init(), BATCHES, steps=1, evaluate=evaluate,
            keep_best="accuracy", progress=None,
        )  # fmt: skip
