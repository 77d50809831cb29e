import collections
import csv
import json
import pathlib
import pickle
import signal
import subprocess
import sys

import chex
import jax
import killed_run
import numpy as np
import optax
import pytest
from jax._src import array
from tiers import few

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.training import Checkpoints, Preempted, bind_config, fit, logs
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(1), Normalize()))
ADAM = optax.adamw(optax.cosine_decay_schedule(1e-2, 100))
HERE = pathlib.Path(__file__).parent


def start(student):
    objective = recipes.labels()
    step = make_train_step(student, objective, ADAM, views=VIEWS)
    return step, step.init()


def run(student, data, steps=60, **options):
    options = {"log_every": 20, "tensorboard": False, "progress": None} | options
    return fit(*start(student), Loader(data, VIEWS, 32), steps=steps, **options)


def test_rows_are_means_over_their_log_interval(images, mlp, tmp_path):
    step, state = start(mlp())
    loader, losses = Loader(images, VIEWS, 32), []
    for index in range(50):
        state, metrics = step(state, loader[index])
        losses.append(float(metrics["loss"]))
    fitted = run(mlp(), images, steps=50, workdir=tmp_path, evaluate=lambda s: {"at": int(s.step)})
    assert [row["step"] for row in fitted.train] == [20, 40, 50]
    for row, part in zip(fitted.train, (losses[:20], losses[20:40], losses[40:]), strict=True):
        assert row["loss"] == pytest.approx(np.mean(part), rel=1e-5)
    assert fitted.eval == [{"step": 50, "at": 50.0}]
    rows = list(csv.DictReader((tmp_path / "train.csv").open()))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in fitted.train]


@few("steps_per_call", [7, 1, 32])
def test_steps_per_call_change_nothing(images, mlp, steps_per_call):
    one = run(mlp(), images, steps=50)
    other = run(mlp(), images, steps=50, steps_per_call=steps_per_call)
    chex.assert_trees_all_close(one.state.params, other.state.params, atol=1e-5)
    assert [r["step"] for r in one.train] == [r["step"] for r in other.train]


@few("steps_per_call", [16, 1])
def test_one_program_and_no_copy_between_log_steps(images, mlp, monkeypatch, steps_per_call):
    """50 steps in calls of all lengths: everything compiles in the first one."""
    events: list[str] = []
    calls = collections.Counter()
    step, state = start(mlp())
    loader = Loader(images, VIEWS, 32)
    many = step.many

    def counted(*args):
        calls["many"] += 1
        return many(*args)

    object.__setattr__(step, "many", counted)
    # jax.transfer_guard sees no copy on CPU, so every reading of an array's value is recorded here.
    copies: list[int] = []

    value = array.ArrayImpl._value
    monkeypatch.setattr(
        array.ArrayImpl,
        "_value",
        property(lambda self: copies.append(calls["many"]) or value.fget(self)),
    )

    def on_event(name, seconds, **kwargs):
        if "backend_compile" in name and calls["many"] > 1:
            events.append(name)

    jax.monitoring.register_event_duration_secs_listener(on_event)
    fit(step, state, loader, steps=50, log_every=20, steps_per_call=steps_per_call, progress=None)
    assert events == []
    # The step number before the first call; then the metrics, one call after each log step.
    at_log = {20: 21, 40: 41, 50: 50} if steps_per_call == 1 else {20: 3, 40: 5, 50: 5}
    assert set(copies) == {0, *at_log.values()}


@few("kills", [(71,), (37, 71)], ids=["once", "twice"])
def test_an_uninterrupted_run_and_a_killed_one_end_bit_identical(tmp_path, kills):
    def launch(name, kill_at):
        return subprocess.run(
            [sys.executable, str(HERE / "killed_run.py"), str(tmp_path / name), str(kill_at)],
            check=False,
            capture_output=True,
            encoding="utf-8",
        )

    killed_run.main(str(tmp_path / "whole"), 0)
    for kill_at in kills:
        killed = launch("cut", kill_at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = launch("cut", 0)
    assert resumed.returncode == 0, resumed.stderr
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "cut.npz") as b:
        assert sorted(a) == sorted(b) and len(a) > 5
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in ("train.csv", "eval.csv"):
        assert (tmp_path / "whole" / name).read_text(encoding="utf-8") == (
            tmp_path / "cut" / name
        ).read_text(encoding="utf-8")
    assert (tmp_path / "whole" / "train.csv").read_text(encoding="utf-8").count("\n") == 11


def test_a_finished_run_is_not_run_again(images, mlp, tmp_path):
    first = run(mlp(), images, workdir=tmp_path, evaluate=lambda s: {"at": int(s.step)})

    class Untouchable:
        def __getitem__(self, step):
            raise AssertionError("a finished run read a batch")

    again = fit(
        *start(mlp()),
        Untouchable(),
        steps=60,
        log_every=20,
        workdir=tmp_path,
        tensorboard=False,
        progress=None,
    )
    chex.assert_trees_all_equal(first.state.params, again.state.params)
    assert (first.train, first.eval) == (again.train, again.eval)


def test_tensorboard_files_hold_the_rows(images, mlp, tmp_path):
    run(mlp(), images, workdir=tmp_path, tensorboard=True)
    (file,) = tmp_path.glob("events.out.tfevents.*")
    assert b"train/loss" in file.read_bytes()


def test_torn_and_later_rows_are_dropped_on_resume(tmp_path):
    files = logs.CSV(tmp_path)
    for step in (10, 20, 30):
        files.write(step, {"loss": step / 10}, "train")
    with open(tmp_path / "train.csv", "a", encoding="utf-8") as stream:
        stream.write("40,3.")
    files = logs.CSV(tmp_path, resume_step=20)
    assert files.rows("train") == [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 2.0}]
    files.write(30, {"loss": 3.5}, "train")
    text = (tmp_path / "train.csv").read_text(encoding="utf-8")
    assert text.split() == ["step,loss", "10,1.0", "20,2.0", "30,3.5"]
    with pytest.raises(ValueError, match=r"\['step', 'loss'\], not \['step', 'other'\]"):
        files.write(40, {"other": 1.0}, "train")


def test_a_diverged_loss_stops_the_run_with_its_checkpoint(images, mlp, tmp_path):
    student = mlp()
    optimizer = optax.sgd(lambda step: jax.numpy.where(step < 30, 0.01, jax.numpy.inf))
    objective = recipes.labels()
    step = make_train_step(student, objective, optimizer, views=VIEWS)
    state = step.init()
    with pytest.raises(FloatingPointError, match="steps before step 40.*nan"):
        fit(
            step,
            state,
            Loader(images, VIEWS, 32),
            steps=60,
            log_every=20,
            checkpoint_every=20,
            workdir=tmp_path,
            tensorboard=False,
            progress=None,
        )
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest() == 20


def test_parameters_that_are_not_finite_are_not_saved(images, mlp, tmp_path):
    """The twentieth update is not finite; the losses up to it are."""
    student, objective = mlp(), recipes.labels()
    optimizer = optax.sgd(lambda step: jax.numpy.where(step < 19, 0.01, jax.numpy.nan))
    step = make_train_step(student, objective, optimizer, views=VIEWS)
    state = step.init()
    options = {"log_every": 10, "checkpoint_every": 10, "workdir": tmp_path, "progress": None}
    with pytest.raises(FloatingPointError, match="parameter is not finite after step 20"):
        fit(step, state, Loader(images, VIEWS, 32), steps=40, tensorboard=False, **options)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest() == 10


def test_accuracy_counts_labeled_examples_however_few(images, mlp):
    """Batches hold one labeled example or none; the logged mean is over examples, not batches."""
    few = images.with_labels(images.ids[:12])
    fitted = run(mlp(), few, steps=36, log_every=6)
    loader, right, labeled = Loader(few, VIEWS, 32), 0.0, 0
    step, state = start(mlp())
    for index in range(6):
        labeled += int((loader[index]["labels"] >= 0).sum())
        state, metrics = step(state, loader[index])
        count = int((loader[index]["labels"] >= 0).sum())
        right += float(metrics["accuracy"]) * count if count else 0.0
    assert fitted.train[0]["accuracy"] == pytest.approx(right / labeled)


def test_a_work_directory_is_not_continued_by_another_run(images, mlp, tmp_path):
    run(mlp(), images, steps=40, workdir=tmp_path, config={"seed": 0})
    with pytest.raises(ValueError, match="holds a run of 40 steps, more than steps=20"):
        run(mlp(), images, steps=20, workdir=tmp_path)
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        run(mlp(), images, steps=60, workdir=tmp_path, config={"seed": 1})


def test_a_student_with_too_few_classes_is_refused(images, mlp, tmp_path):
    with pytest.raises(ValueError, match="have 3 classes, the data set random has 5"):
        run(mlp(num_classes=3), images)


@pytest.mark.parametrize("cached", [False, True])
def test_batches_of_other_views_than_the_step_renders_are_refused(images, mlp, tmp_path, cached):
    cache = jaxkd.cache.build(tmp_path, mlp(1), images, VIEWS, progress=False) if cached else None
    loader = Loader(images, VIEWS, 32, cache=cache)
    for views, named in ((Views((Normalize(),)), r"Normalize\("), (None, "transforms=()")):
        step = make_train_step(mlp(), recipes.labels(), ADAM, views=views)
        message = (
            rf"views Views\(transforms=\(RandomCrop.*renders Views\(.*{named}.*make_train_step"
        )
        with pytest.raises(ValueError, match=message.replace("=()", r"=\(\)")):
            fit(step, step.init(), loader, steps=2, progress=None)
    # Without random transforms the seed is of no effect.
    loader, views = (Loader(images, Views((Normalize(),), seed=s), 32) for s in (0, 1))
    step = make_train_step(mlp(), recipes.labels(), ADAM, views=views.views)
    fit(step, step.init(), loader, steps=1, progress=None)
    # No views at all are the same by either name, whatever their seeds.
    plain = make_train_step(mlp(), recipes.labels(), ADAM)
    fit(plain, plain.init(), Loader(images, Views(seed=3), 32), steps=1, progress=None)


def test_batches_without_views_are_not_checked(images, mlp):
    """Those whose `views` are something else, and those that something else renders."""

    class Batches(list):
        views = 4

    def transform(params, state, batch, *, step, key):
        del params, state, step, key
        return VIEWS.render(batch)

    step = make_train_step(mlp(), recipes.labels(), ADAM, batch_transform=transform)
    loader = Loader(images, VIEWS, 32)
    with pytest.raises(ValueError, match="batch_transform, are given without an attribute `views`"):
        fit(step, step.init(), loader, steps=1, progress=None)
    fit(step, step.init(), Batches([loader[0]]), steps=1, progress=None)


def test_views_may_differ_by_name_alone(images, mlp):
    step = make_train_step(mlp(), recipes.labels(), ADAM, views=Views((Normalize(),)))
    loader = Loader(images, VIEWS, 32)
    with pytest.raises(ValueError, match="the batches are of the views"):
        fit(step, step.init(), loader, steps=1, progress=None, allow={"optimizer"})
    fit(step, step.init(), loader, steps=1, progress=None, allow={"views"})


@pytest.mark.parametrize(
    ("allow", "error", "message"),
    [
        ("optimizer", TypeError, r"not the text 'optimizer': allow=\{'optimizer'\}"),
        ({3}, TypeError, "a set of names, not of 3"),
        ({"optimiser"}, ValueError, "unknown name 'optimiser'; did you mean 'optimizer'.* views"),
    ],
)
def test_what_may_differ_is_named_by_known_names(images, mlp, allow, error, message):
    with pytest.raises(error, match=message):
        run(mlp(), images, steps=1, allow=allow)


def test_a_step_and_a_state_of_another_kind_are_refused(images, mlp):
    step, state = start(mlp())
    loader = Loader(images, VIEWS, 32)
    with pytest.raises(TypeError, match="state must be a TrainState, not None: write step.init()"):
        fit(step, None, loader, steps=1, progress=None)
    with pytest.raises(TypeError, match="must be a TrainStep, not an object of the class Network"):
        fit(mlp(), state, loader, steps=1, progress=None)


@pytest.mark.parametrize(
    "optimizer", [optax.contrib.prodigy(), optax.chain(ADAM, optax.contrib.reduce_on_plateau())]
)
def test_optimizers_that_keep_parameters_or_watch_the_loss(images, mlp, optimizer):
    student, objective = mlp(), recipes.labels()
    step = make_train_step(student, objective, optimizer, views=VIEWS)
    state = step.init()
    fitted = fit(step, state, Loader(images, VIEWS, 32), steps=4, log_every=2, progress=None)
    assert np.isfinite(fitted.train[-1]["loss"])


def test_checkpoints_restore_the_whole_state(images, small, tmp_path):
    step, state = start(small())
    for index in range(3):
        state, _ = step(state, Loader(images, VIEWS, 32)[index])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
        restored, _ = checkpoints.restore(start(small(5))[1])
    keys = [jax.random.key_data(s.key) for s in (state, restored)]
    np.testing.assert_array_equal(*keys)
    for name in ("step", "params", "model_state", "opt_state"):
        chex.assert_trees_all_equal(getattr(restored, name), getattr(state, name))
    with (
        Checkpoints(tmp_path / "empty") as empty,
        pytest.raises(FileNotFoundError, match="no checkpoint in"),
    ):
        empty.restore(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"eval_every": 30},
            "eval_every=30 must be a multiple of log_every=20.* 20 is one, or log_every=30",
        ),
        ({"checkpoint_every": 50}, "checkpoint_every=50 must be .* 40 is one"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"log_every": 0}, "log_every must be at least 1, not 0"),
        ({"steps_per_call": 0}, "steps_per_call must be at least 1, not 0"),
    ],
)
def test_bad_intervals_are_refused_before_anything_runs(images, mlp, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(mlp(), images, workdir=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["steps", "log_every", "checkpoint_every", "steps_per_call"])
def test_numbers_of_steps_are_integers(images, mlp, tmp_path, name):
    with pytest.raises(TypeError, match=f"{name} must be an integer, not 1.5"):
        run(mlp(), images, workdir=tmp_path / "new", **{name: 1.5})
    assert not (tmp_path / "new").exists()


def test_a_preemption_passes_between_processes(tmp_path):
    error = Preempted(7, tmp_path)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.step, copy.exit_code) == (str(error), 7, 75)


def test_a_work_directory_belongs_to_one_configuration(tmp_path):
    config = {"seed": 1, "student": {"width": 32, "kind": "mlp"}}
    bind_config(tmp_path / "w", config)
    bind_config(tmp_path / "w", json.loads(json.dumps(config)))
    with pytest.raises(ValueError, match="student.width: 32 there, 64 now.*another workdir"):
        bind_config(tmp_path / "w", {"seed": 1, "student": {"width": 64, "kind": "mlp"}})
    with pytest.raises(ValueError, match="views: nothing there, 3 now"):
        bind_config(tmp_path / "w", config | {"views": 3})
    for damaged in ("", "{"):
        (tmp_path / "w" / "config.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(ValueError, match="config.json is damaged, it is no JSON"):
            bind_config(tmp_path / "w", config)
