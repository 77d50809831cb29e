"""A study so small that it takes a second: which of four numbers is the largest."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd import from_function
from jaxkd.data import Dataset, split
from jaxkd.study import Evaluator, Study

PARTS = {"train": 0.5, "validation": 0.25, "test": 0.25}


def linear(weights, inputs):
    return inputs @ weights


def make_student(seed):
    return from_function(linear, 0.1 * jax.random.normal(jax.random.key(seed), (4, 4)))


def make_teacher():
    return from_function(linear, 5.0 * jnp.eye(4))


def make_data(count=160):
    inputs = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    known = {"name": "largest", "split": "all", "num_classes": 4}
    return split(Dataset.from_arrays(inputs, inputs.argmax(1), **known), PARTS)


def make_study(workdir, data=None, student=make_student, teacher="own", **options):
    options = {"arms": ["labels", "kd"], "seeds": 2, "steps": 4, "batch_size": 16, **options}
    options = {"learning_rate": 0.05, "population": False, "evaluations": 2, **options}
    if "epochs" in options or "seconds" in options:
        del options["steps"]
    teacher = make_teacher() if teacher == "own" else teacher
    return Study(data or make_data(), student, teacher, workdir=workdir, **options)


def without_seconds(document):
    return {
        **document,
        "arms": {n: {**arm, "seconds": None} for n, arm in document["arms"].items()},
    }


def run_killed(monkeypatch, study, at=(2, 7, 16), of=Evaluator):
    """Runs a study that is killed several times while a student is evaluated."""
    calls, scores = [], of.scores

    def killed(self, network):
        calls.append(1)
        if len(calls) in at:
            raise KeyboardInterrupt
        return scores(self, network)

    monkeypatch.setattr(of, "scores", killed)
    resumed = None
    while resumed is None:
        with contextlib.suppress(KeyboardInterrupt):
            resumed = study.replace().run(progress=False)
    assert len(calls) > at[-1]
    return resumed


def assert_same(one, other):
    assert without_seconds(one.document()) == without_seconds(other.document())
    for name in one.arms:
        for part in ("validation", "test"):
            logits = (each[name].logits[part] for each in (one, other))
            np.testing.assert_array_equal(*logits)
