"""A run goes on with what it began with: anything else is refused by field, with both values."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

import jaxkd
from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.data import Dataset, Loader
from jaxkd.training import Checkpoints, Population, dot, fit
from jaxkd.training._run_fields import as_document, check_run, run_fields
from jaxkd.views import Normalize, OnHost, RandomCrop, Views

VIEWS = Views((Normalize(),))
SGD = optax.sgd(0.1)


def linear(scale=0.1, act=lambda x: x):
    weights = scale * jax.random.normal(jax.random.key(0), (64, 5))
    return jaxkd.from_function(lambda w, x: act(x.reshape(len(x), -1) @ w), weights)


def start(data, *, student=None, objective=None, optimizer=SGD, teacher=None, views=VIEWS,
          batch_size=16, seed=0, order=0, cache=None, **options):  # fmt: skip
    objective = objective or (recipes.kd() if teacher or cache else recipes.labels())
    student = linear() if student is None else student
    step = make_train_step(student, objective, optimizer, teacher=teacher, views=views, **options)
    return step, step.init(seed), Loader(data, views, batch_size, seed=order, cache=cache)


def run(workdir, data, steps=2, allow=(), **changes):
    return fit(
        *start(data, **changes),
        steps=steps,
        log_every=1,
        workdir=workdir,
        tensorboard=False,
        progress=None,
        allow=allow,
    )


def hyper(rate):
    return optax.inject_hyperparams(optax.sgd)(learning_rate=rate)


def weighted(factor):
    def loss(student, labels):
        return factor * losses.cross_entropy(student, labels)

    return Objective(label=Term(loss))


def scheduled(end):
    return recipes.kd(temperature=optax.linear_schedule(8.0, end, 100))


def renamed(data, **changes):
    values = {"name": data.name, "split": data.split, "num_classes": 5, "ids": data.ids} | changes
    labels = values.pop("labels", data.labels)
    return Dataset.from_arrays(values.pop("inputs", data.inputs), labels, **values)


def _host(factor):
    def scaled(rng, image):
        return image // factor

    return OnHost(scaled)


T = linear(1.0)
# What a run began with, what it is resumed with, and what the message says.
CHANGES = {
    "learning rate": (
        {},
        {"optimizer": optax.sgd(0.05)},
        r"optimizer.constants: \[-0.1\] there, \[-0.05\] now",
    ),
    "what a teacher computes": (
        {"teacher": T},
        {"teacher": linear(1.0, jnp.tanh)},
        "teacher.computation: sha256:",
    ),
    "schedule": (
        {"optimizer": optax.sgd(optax.linear_schedule(0.1, 0.0, 10))},
        {"optimizer": optax.sgd(optax.linear_schedule(0.1, 0.0, 20))},
        r"optimizer.constants: \[10.0\] there, \[20.0\] now",
    ),
    "hyperparameter in the state": (
        {"optimizer": hyper(0.1)},
        {"optimizer": hyper(0.2)},
        r"optimizer.constants: \[0.1\] there, \[0.2\] now",
    ),
    "what an optimizer computes": (
        {"optimizer": optax.chain(optax.sgd(0.1), optax.identity())},
        {"optimizer": optax.chain(optax.sgd(0.1), optax.scale_by_sign())},
        "optimizer.computation: sha256:",
    ),
    # Their states have the same arrays, none, in other containers.
    "a longer chain": (
        {},
        {"optimizer": optax.chain(optax.clip(2.0), SGD)},
        r"optimizer.constants: \[-0.1\] there, \[-2.0, 2.0\] now",
    ),
    "online teacher": (
        {"teacher": T},
        {"teacher": linear(2.0)},
        "teacher.parameters: sha256:",
    ),
    "no teacher": (
        {"teacher": T},
        {"objective": recipes.labels()},
        "step.online_teacher: true there, false now",
    ),
    "temperature": (
        {"teacher": T},
        {"teacher": T, "objective": recipes.kd(temperature=2.0)},
        "objective.kd.temperature: 4.0 there, 2.0 now",
    ),
    "schedule of the temperature": (
        {"teacher": T, "objective": scheduled(2.0)},
        {"teacher": T, "objective": scheduled(1.0)},
        "objective.kd.temperature: .*2.0.* there, .*1.0.* now",
    ),
    "weight": (
        {"teacher": T},
        {"teacher": T, "objective": recipes.kd(alpha=0.7)},
        "objective.kd.weight: 0.9 there, 0.7 now",
    ),
    "what a loss computes": (
        {"objective": weighted(jnp.full((), 1.0))},
        {"objective": weighted(jnp.full((), 2.0))},
        "objective.computation: sha256:",
    ),
    "batch size": ({}, {"batch_size": 20}, "batches.batch_size: 16 there, 20 now"),
    "order": ({}, {"order": 1}, "batches.seed: 0 there, 1 now"),
    "root key": ({}, {"seed": 1}, "seed: 0 0 there, 0 1 now"),
    "initial student": ({}, {"student": linear(0.2)}, "student.start: sha256:"),
    "what a student computes": (
        {},
        {"student": linear(0.1, jnp.tanh)},
        "student.computation: sha256:",
    ),
    "views": ({}, {"views": Views((RandomCrop(1), Normalize()))}, "views.transforms: "),
    "code that runs on the host": (
        {"views": Views((_host(1), Normalize()))},
        {"views": Views((_host(2), Normalize()))},
        "views.on_host: sha256:",
    ),
    "optimizer of two gradients": (
        {"teacher": T, "optimizer": dot(0.1), "split_gradients": True},
        {"teacher": T, "optimizer": dot(0.2), "split_gradients": True},
        "optimizer.constants: .*0.1.* there, .*0.2.* now",
    ),
    "mode of the teacher": (
        {"teacher": T},
        {"teacher": T, "teacher_train": True},
        "step.teacher_train: false there, true now",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_run_is_made_of_is_compared_by_field(images, name):
    first, second, message = CHANGES[name]
    document = as_document(fields_of(images, **first))
    with pytest.raises(ValueError, match=message):
        check_run("w", document, fields_of(images, **second), ())
    # Made anew, it is the same.
    check_run("w", document, fields_of(images, **first), ())


@pytest.mark.parametrize("make", [optax.sgd, lambda r: optax.sgd(r, momentum=0.9), optax.adamw])
def test_a_learning_rate_is_the_same_as_a_number_and_as_an_array(images, make):
    document = as_document(fields_of(images, optimizer=make(0.1)))
    check_run("w", document, fields_of(images, optimizer=make(jnp.asarray(0.1))), ())
    with pytest.raises(ValueError, match="optimizer.constants: .*-0.1.* there, .*-0.2"):
        check_run("w", document, fields_of(images, optimizer=make(jnp.asarray(0.2))), ())


def fields_of(data, **changes):
    step, state, loader = start(data, **changes)
    return run_fields(step, state, loader, loader[0])


@few("name", CHANGES, keep=2)
def test_a_run_of_something_else_is_refused_by_field(images, tmp_path, name):
    first, second, message = CHANGES[name]
    run(tmp_path, images, **first)
    before = (tmp_path / "train.csv").read_bytes()
    with pytest.raises(ValueError, match=message):
        run(tmp_path, images, 4, **second)
    assert (tmp_path / "train.csv").read_bytes() == before
    # What it began with still goes on, made anew.
    assert int(run(tmp_path, images, 4, **first).state.step) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 255}, "dataset.fingerprint"),
        ({"labels": 4}, "dataset.labels"),
        ({"name": "other"}, "dataset.name: random there, other now"),
    ],
)
def test_other_data_are_refused(images, tmp_path, changes, message):
    run(tmp_path, images)
    arrays = {n: v - getattr(images, n) for n, v in changes.items() if n != "name"}
    with pytest.raises(ValueError, match=message):
        run(tmp_path, renamed(images, **{**changes, **arrays}), 4)
    with pytest.raises(ValueError, match="dataset.ids: 200 examples, .* 100 examples"):
        run(tmp_path, images.select(images.ids[:100]), 4)


def test_a_cache_of_another_teacher_is_refused(images, tmp_path):
    def cached(scale):
        path = tmp_path / f"cache{scale}"
        return jaxkd.cache.build(path, linear(scale), images, VIEWS, progress=False)

    run(tmp_path / "w", images, cache=cached(1.0))
    with pytest.raises(ValueError, match="teacher.parameters: sha256:"):
        run(tmp_path / "w", images, 4, cache=cached(2.0))
    # The same teacher's cache, built a second time elsewhere.
    again = jaxkd.cache.build(tmp_path / "again", linear(1.0), images, VIEWS, progress=False)
    run(tmp_path / "w", images, 4, cache=again)


def test_a_cache_that_is_filled_tells_of_its_teacher(images, tmp_path):
    def filled(scale):
        path = tmp_path / f"cache{scale}"
        given = {"teacher": linear(scale), "dataset": images, "views": VIEWS}
        return jaxkd.cache.open(path, **given, mode="fill")

    with filled(1.0) as cache:
        assert cache.contract["teacher.parameters"] == linear(1.0).fingerprint()["parameters"]
        run(tmp_path / "w", images, cache=cache)
    with filled(1.0) as cache:
        run(tmp_path / "w", images, 3, cache=cache)
    with filled(2.0) as cache, pytest.raises(ValueError, match="teacher.parameters: sha256:"):
        run(tmp_path / "w", images, 4, cache=cache)


def test_what_may_differ_is_named(images, tmp_path):
    run(tmp_path, images)
    slower = {"optimizer": optax.sgd(0.05)}
    with pytest.raises(ValueError, match=r"allow=\{'optimizer.constants'\}"):
        run(tmp_path, images, 3, allow={"student"}, **slower)
    run(tmp_path, images, 3, allow={"optimizer.constants"}, **slower)
    # From here on it is a run of the new learning rate.
    run(tmp_path, images, 4, **slower)
    with pytest.raises(ValueError, match="optimizer.constants"):
        run(tmp_path, images, 5)
    longer = optax.chain(optax.clip(1.0), optax.sgd(0.05))
    assert int(run(tmp_path, images, 5, allow={"optimizer"}, optimizer=longer).state.step) == 5
    run(tmp_path, images, 5, allow={"optimizer"})


def test_what_makes_no_difference_is_not_compared(images, tmp_path):
    """Micro-batches, logs, objects of equal content, and a finished run that is read again."""
    run(tmp_path, images, teacher=linear(1.0))
    run(tmp_path, images, 3, teacher=linear(1.0), micro_batches=2)
    run(tmp_path, renamed(images), 4, teacher=linear(1.0), optimizer=optax.sgd(0.1))
    run(tmp_path, images, 4, teacher=linear(1.0))
    with pytest.raises(ValueError, match="teacher.parameters"):
        run(tmp_path, images, 4, teacher=linear(2.0))


def test_other_names_of_the_same_programs_go_on(images, tmp_path):
    def other_name(weights, inputs):
        return inputs.reshape(len(inputs), -1) @ weights

    def another_loss(student, labels):
        return 2.0 * losses.cross_entropy(student, labels)

    run(tmp_path, images, objective=weighted(2.0))
    student = jaxkd.from_function(other_name, linear().params)
    run(tmp_path, images, 3, student=student, objective=Objective(label=Term(another_loss)))
    with pytest.raises(ValueError, match="objective.label.loss: "):
        run(tmp_path, images, 4, student=student, objective=weighted(3.0))


def test_batches_that_say_nothing_are_not_compared(images, tmp_path):
    step, state, loader = start(images)
    options = {"log_every": 1, "workdir": tmp_path, "tensorboard": False, "progress": None}
    fit(step, state, loader, steps=2, **options)
    fit(step, step.init(), [loader[index] for index in range(3)], steps=3, **options)
    # What the first part said is still known.
    with pytest.raises(ValueError, match="batches.seed: 0 there, 1 now"):
        run(tmp_path, images, 4, order=1)
    with pytest.raises(ValueError, match="batches.batch_size: 16 there, 20 now"):
        fit(step, step.init(), [start(images, batch_size=20)[2][3]] * 4, steps=4, **options)


def test_a_state_that_has_trained_is_not_a_beginning(images, tmp_path):
    step, state, loader = start(images)
    options = {"log_every": 1, "workdir": tmp_path, "tensorboard": False, "progress": None}
    fitted = fit(step, state, loader, steps=2, **options)
    fit(step, fitted.state, loader, steps=3, **options)
    with pytest.raises(ValueError, match="student.start"):
        run(tmp_path, images, 4, student=linear(0.2))


def test_members_of_a_population_are_compared(images, tmp_path):
    options = {"log_every": 1, "workdir": tmp_path, "tensorboard": False, "progress": None}
    batches = Loader(images, VIEWS, 16)
    for steps, rates in ((1, [0.1, 0.2]), (2, [0.1, 0.3]), (2, [0.1, 0.2])):
        members = Population(
            lambda seed: linear(),
            recipes.labels(),
            optax.sgd,
            {"learning_rate": rates},
            views=VIEWS,
        )
        arguments = (members.step, members.init(), batches)
        if 0.3 in rates:
            with pytest.raises(ValueError, match="step.members: .*0.2.* there, .*0.3.* now"):
                fit(*arguments, steps=steps, **options)
        else:
            fit(*arguments, steps=steps, **options)


def test_checkpoints_of_earlier_versions_resume_with_one_warning(images, tmp_path):
    step, state, loader = start(images)
    for index in range(2):
        state, _ = step(state, loader[index])
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(state, {"sums": None})
    (tmp_path / "train.csv").write_text("step,loss\n1,2.0\n2,1.0\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="of an earlier version") as caught:
        fitted = run(tmp_path, images, 2)
    assert len(caught) == 1
    assert [row["step"] for row in fitted.train] == [1, 2]
    (tmp_path / "train.csv").unlink()  # whose rows had another metric
    with pytest.warns(UserWarning, match="of an earlier version"):
        run(tmp_path, images, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path, images, 4)


def test_an_online_teacher_beside_a_cache_is_refused(images, tmp_path):
    cache = jaxkd.cache.build(tmp_path, linear(2.0), images, VIEWS, progress=False)
    with pytest.raises(ValueError, match="two teachers: the step has .* the cache "):
        run(None, images, teacher=T, cache=cache)
    with pytest.warns(UserWarning, match=r"which no term of the objective uses, \['label'\]"):
        run(None, images, objective=recipes.labels(), cache=cache)


def test_an_evaluation_of_other_classes_is_refused(images):
    def named(*names):
        return renamed(images, class_names=names)

    members = Population(lambda seed: linear(), recipes.labels(), SGD, {"seed": [0]}, views=VIEWS)
    evaluate = members.evaluator(named("b", "a", "c", "d", "e"), views=VIEWS)
    options = {"steps": 1, "evaluate": evaluate, "progress": None}
    loader = Loader(named("a", "b", "c", "d", "e"), VIEWS, 16)
    with pytest.raises(ValueError, match="class_names .*'a', 'b'.*'b', 'a'.*allow="):
        fit(members.step, members.init(), loader, **options)
    fit(members.step, members.init(), loader, **options, allow={"dataset.class_names"})


def test_the_description_of_a_run_is_plain_data(images, tmp_path):
    fitted = run(tmp_path, images, teacher=T)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        _, metadata = checkpoints.restore(fitted.state)
    assert json.loads(json.dumps(metadata["run"])) == metadata["run"]
    assert {name.partition(".")[0] for name in metadata["run"]["fields"]} == {
        "batches", "dataset", "objective", "optimizer", "seed", "step", "student", "teacher",
        "views",
    }  # fmt: skip
    assert np.isfinite(metadata["run"]["fields"]["optimizer.constants"]).all()
