"""A study so small that it takes a second: which of four numbers is the largest."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd import from_function
from jaxkd.data import Dataset, split
from jaxkd.study import Study

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
