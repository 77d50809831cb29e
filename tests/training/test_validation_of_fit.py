"""Networks are tried on the first batch, before the first step."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import Views, recipes
from jaxkd.data import Dataset, Loader
from jaxkd.networks._trial import Trial
from jaxkd.training import fit

INPUTS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
BATCHES = [{"inputs": INPUTS, "labels": np.arange(8) % 3}] * 2


class Noisy(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

    def __call__(self, x, is_train=False):
        x = self.layer(self.dropout(x, deterministic=not is_train))
        return self.norm(x, use_running_average=not is_train)


def linear():
    return jaxkd.from_function(lambda p, x: x @ p, jnp.zeros((6, 3)))


def train(student, teacher=None, steps=1, **options):
    objective = recipes.labels() if teacher is None else recipes.kd()
    step = jaxkd.make_train_step(student, objective, optax.sgd(0.1), teacher=teacher)
    return fit(step, step.init(), BATCHES, steps=steps, progress=None, **options)


def test_a_student_that_stays_in_evaluation_mode_is_refused():
    with pytest.raises(ValueError, match=r"student Noisy has dropout \(dropout\).*student\.mode"):
        train(jaxkd.from_nnx(Noisy()))
    before = jaxkd.from_nnx(Noisy(), train_mode="is_train")
    after = train(before).state.model_state["student"]
    assert not np.array_equal(after["norm.mean"], before.state["norm.mean"])
    train(jaxkd.from_nnx(Noisy()), allow={"student.mode"})


def test_an_online_teacher_that_is_in_training_mode_is_refused():
    teacher = jaxkd.from_nnx(Noisy(), train_mode={"is_train": (True, True)})
    with pytest.raises(ValueError, match=r"teacher Noisy draws random.*teacher\.mode"):
        train(linear(), teacher)
    train(linear(), teacher, allow={"teacher.mode"})
    step = jaxkd.make_train_step(
        linear(), recipes.kd(), optax.sgd(0.1), teacher=teacher, teacher_train=True
    )
    fit(step, step.init(), BATCHES, steps=1, progress=None)


def test_networks_are_tried_once_for_a_step_and_not_after_a_resume(tmp_path, monkeypatch):
    tried = []
    check = Trial.check_evaluation
    monkeypatch.setattr(
        Trial, "check_evaluation", lambda self: (tried.append(self.role), check(self))
    )
    step = jaxkd.make_train_step(linear(), recipes.labels(), optax.sgd(0.1))
    for _ in range(2):
        fit(step, step.init(), BATCHES, steps=1, progress=None)
    assert tried == ["student"]
    train(linear(), workdir=tmp_path)
    train(linear(), steps=2, workdir=tmp_path)
    assert tried == ["student"] * 2


def test_a_state_that_an_earlier_call_used_up_is_named():
    step = jaxkd.make_train_step(linear(), recipes.labels(), optax.sgd(0.1))
    state = step.init()
    result = fit(step, state, BATCHES, steps=1, progress=None)
    with pytest.raises(ValueError, match=r"earlier call of fit .*result\.state.*step\.init\(\)"):
        fit(step, state, BATCHES, steps=2, progress=None)
    assert int(fit(step, result.state, BATCHES, steps=2, progress=None).state.step) == 2


def test_labels_alone_are_not_learned_where_there_are_none():
    data = Dataset.from_arrays(INPUTS, None, name="pool", split="train", num_classes=3)
    step = jaxkd.make_train_step(linear(), recipes.labels(), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"\['label'\], compare with labels, and none of the 8"):
        fit(step, step.init(), Loader(data, Views(), 4), steps=1, progress=None)
