"""Trainings one after the other: who starts where, who teaches, and that a kill changes nothing."""

import functools
import os

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.cache import build
from jaxkd.data import Loader
from jaxkd.strategies import (
    Phase,
    born_again,
    early_stopped,
    progressive,
    run_phases,
    stage_wise,
    teacher_assistants,
)
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(1), Normalize()))
ADAM = optax.adam(3e-3)
KD = recipes.kd(alpha=1.0, temperature=2.0)
STEP = functools.partial(make_train_step, views=VIEWS)
QUIET = {"progress": None, "tensorboard": False, "log_every": 5, "make_step": STEP}


@pytest.fixture
def loader(images):
    return Loader(images, VIEWS, 32)


def equal(one, other):
    same = jax.tree.map(np.array_equal, (one.params, one.state), (other.params, other.state))
    return all(jax.tree.leaves(same))


def by_hand(student, teacher, loader, steps, objective=KD, seed=0):
    step = STEP(student, objective, ADAM, teacher=teacher)
    state = step.init(seed)
    for index in range(steps):
        state, _ = step(state, loader[index])
    return state.network(student)


def test_a_chain_is_its_links(loader, mlp):
    teacher, assistant, student = mlp(0), mlp(1), mlp(2, width=8)
    phases = teacher_assistants(
        teacher, {"assistant": assistant, "student": student}, KD, steps=6, optimizer=ADAM
    )
    made = run_phases(phases, loader, **QUIET)
    first = by_hand(assistant, teacher, loader, 6)
    second = by_hand(student, first, loader, 6, seed=1)
    assert list(made) == ["assistant", "student"]
    assert equal(made["assistant"], first) and equal(made["student"], second)


def test_phases_go_on_with_one_student_and_objectives_start_anew(loader, mlp):
    student, early, late = mlp(0), mlp(1), mlp(2)
    schedule = recipes.kd(alpha=1.0, temperature=optax.linear_schedule(8.0, 2.0, 5))
    phases = progressive((early, late), schedule, steps=5, optimizer=ADAM)
    made = run_phases(phases, loader, student=student, **QUIET)
    first = by_hand(student, early, loader, 5, schedule)
    assert equal(made["anchor1"], first)
    assert equal(made["anchor2"], by_hand(first, late, loader, 5, schedule, seed=1))


def test_generations_start_afresh_and_are_taught_by_the_one_before(mlp):
    phases = born_again(mlp(0), mlp, 3, KD, steps=5, optimizer=ADAM)
    assert [phase.name for phase in phases] == ["generation1", "generation2", "generation3"]
    assert [phase.teacher for phase in phases[1:]] == ["previous", "previous"]
    for number, phase in enumerate(phases, 1):
        assert equal(phase.student, mlp(number))
    with pytest.raises(ValueError, match="generations must be at least 1, not 0"):
        born_again(mlp(0), mlp, 0, KD, steps=5, optimizer=ADAM)


def test_phases_need_a_teacher_and_a_student(mlp):
    with pytest.raises(ValueError, match="progressive needs at least one teacher"):
        progressive([], KD, steps=5, optimizer=ADAM)
    with pytest.raises(ValueError, match="at least one student"):
        teacher_assistants(mlp(0), {}, KD, steps=5, optimizer=ADAM)


class Killed(BaseException):
    """No error that anything would catch."""


class Broken:
    """Batches that end in a kill."""

    def __init__(self, loader, budget):
        self.loader, self.budget = loader, budget

    def __getitem__(self, step):
        if not self.budget:
            raise Killed
        self.budget -= 1
        return self.loader[step]


def test_killed_anywhere_it_ends_in_the_same_bits(loader, mlp, tmp_path):
    model = jaxkd.models.MLP(64, (8,), 5, dropout_rate=0.3, rngs=nnx.Rngs(3))
    forgetful = jaxkd.from_nnx(model)
    first = Phase("labels", recipes.labels(), 8, ADAM, student=forgetful)
    taught = Term(losses.kd, connector=nnx.Linear(5, 5, rngs=nnx.Rngs(0)))
    second = Phase("taught", Objective(kd=taught), 8, ADAM, "labels", mlp(1))
    phases = [first, second]
    options = QUIET | {"checkpoint_every": 4, "log_every": 2}
    whole = run_phases(phases, loader, **options)
    kills = 0
    while True:
        try:
            # Seven steps at a time: kills fall within phases and between checkpoints.
            cut = run_phases(phases, Broken(loader, 7), workdir=tmp_path, **options)
            break
        except Killed:
            kills += 1
    assert kills == 3
    for name in whole:
        assert equal(whole[name], cut[name])
    assert sorted(os.listdir(tmp_path)) == ["labels", "taught"]
    # What is over is restored: there is not a single batch to train on.
    restored = run_phases(phases, Broken(loader, 0), workdir=tmp_path, **options)
    assert all(equal(whole[name], restored[name]) for name in whole)


def test_a_directory_belongs_to_the_phases_before(loader, mlp, tmp_path):
    phases = teacher_assistants(mlp(0), {"a": mlp(1), "b": mlp(2)}, KD, steps=5, optimizer=ADAM)
    run_phases(phases, loader, workdir=tmp_path, **QUIET)
    longer = [Phase("a", KD, 10, ADAM, mlp(0), mlp(1)), phases[1]]
    with pytest.raises(ValueError, match=r"another configuration \(phase.teacher.parameters"):
        run_phases(longer, loader, workdir=tmp_path, **QUIET)
    other = teacher_assistants(mlp(0), {"a": mlp(9)}, KD, steps=5, optimizer=ADAM)
    with pytest.raises(ValueError, match="phase.start.parameters"):
        run_phases(other, loader, workdir=tmp_path, **QUIET)


def test_a_phase_may_build_a_cache_of_its_teacher(images, loader, mlp, tmp_path):
    teachers = []

    def cached(teacher):
        teachers.append(teacher)
        made = build(tmp_path, teacher, images, VIEWS, num_views=2, progress=False)
        return Loader(images, VIEWS, 32, cache=made, num_views=2)

    first = Phase("labels", recipes.labels(), 5, ADAM, student=mlp(1))
    second = Phase("taught", KD, 5, ADAM, "previous", mlp(2), cached)
    made = run_phases([first, second], loader, **QUIET)
    assert equal(teachers[0], made["labels"])
    online = by_hand(mlp(2), made["labels"], loader, 5, seed=1)
    for path, value in made["taught"].params.items():
        np.testing.assert_allclose(value, online.params[path], atol=1e-5)


def test_evaluate_gets_each_phases_student(loader, mlp, tmp_path):
    seen = []

    def evaluate(network):
        seen.append(network)
        return {"sum": float(np.sum(network.params["head.bias"]))}

    phases = teacher_assistants(mlp(0), {"a": mlp(1), "b": mlp(2)}, KD, steps=5, optimizer=ADAM)
    made = run_phases(phases, loader, evaluate=evaluate, workdir=tmp_path, **QUIET)
    assert [equal(a, b) for a, b in zip(seen, made.values(), strict=True)] == [True, True]
    assert (tmp_path / "b" / "eval.csv").exists()


def test_the_teacher_falls_silent():
    objective = early_stopped(10, alpha=0.75)
    outputs = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    batch = {"labels": np.array([0, 1, 2, 0])}
    student, teacher = ({"logits": value} for value in outputs)
    label = losses.cross_entropy(outputs[0], batch["labels"]).mean()
    both = 0.25 * label + 0.75 * losses.kd(*outputs).mean()
    for step, expected in ((0, both), (9, both), (10, label), (50, label)):
        total, *_ = objective(student, teacher, batch, step=step)
        np.testing.assert_allclose(total, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="stop_step must be at least 1"):
        early_stopped(0)
    with pytest.raises(ValueError, match="alpha must lie"):
        early_stopped(5, alpha=-1)


def test_hints_first_move_the_lower_layers_alone(images, loader):
    def convnet(seed, widths):
        model = jaxkd.models.ConvNet(1, 5, widths=widths, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(model)

    student, teacher = convnet(0, (4, 4, 8)), convnet(1, (8, 8, 8))
    pair = recipes.Pair(student, teacher, images.inputs[:2].astype(np.float32))
    phases = stage_wise(pair, KD, hint_steps=3, steps=3, optimizer=ADAM, stages=(0, 1))
    assert [phase.name for phase in phases] == ["hint1", "hint2", "distil"]
    made = run_phases(phases, loader, **QUIET)

    def moved(before, after):
        return {
            path for path in before.params
            if not np.array_equal(before.params[path], after.params[path])
        }  # fmt: skip

    first = {"convs.0.kernel", "norms.0.scale", "norms.0.bias"}
    second = {path.replace("0", "1") for path in first}
    assert moved(student, made["hint1"]) == first
    assert moved(made["hint1"], made["hint2"]) == first | second
    assert moved(made["hint2"], made["distil"]) == set(student.params)
    only = stage_wise(pair, KD, hint_steps=3, steps=3, optimizer=ADAM)[0]
    assert only.objective.terms["hint"].student == "stage2"
    with pytest.raises(ValueError, match=r"3 matched stages, from 0 on; got \[3\]"):
        stage_wise(pair, KD, hint_steps=3, steps=3, optimizer=ADAM, stages=(3,))


def test_phases_that_cannot_run_are_refused_before_anything_does(loader, mlp):
    one = Phase("one", KD, 5, ADAM, mlp(1), mlp(0))

    def refused(match, *phases, batches=loader):
        with pytest.raises(ValueError, match=match):
            run_phases(phases, batches, **QUIET)

    refused("no phase to run")
    refused(r"names of their own; \['one'\] repeat", one, one)
    refused("no student to start from", Phase("one", KD, 5, ADAM, mlp(1)))
    refused("has no batches", one, batches=None)
    refused("of no earlier phase: there are \\['one'\\]", one, Phase("two", KD, 5, ADAM, "three"))
    refused("'previous'.*there are \\[\\]", Phase("one", KD, 5, ADAM, "previous", mlp(0)))
    for name in ("", "a/b", "..", "previous"):
        with pytest.raises(ValueError, match="named like a directory"):
            Phase(name, KD, 5, ADAM)
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        Phase("one", KD, 0, ADAM)
