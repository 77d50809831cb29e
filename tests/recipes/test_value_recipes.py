"""Values, alone and with their uncertainty, from labels and teacher."""

import jax
import numpy as np
import pytest

from jaxkd import from_function, losses, recipes
from jaxkd.recipes import Pair

STUDENT, TEACHER, LABELS, SPREAD = (
    np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)
)
LABELED = np.array([True, True, False, True, False, True])


def values(objective, student, teacher, **batch):
    _, metrics, _ = jax.jit(objective)(student, teacher, batch)
    return {name: (float(total), float(count)) for name, (total, count) in metrics.items()}


def test_means_of_labels_are_over_the_examples_that_have_one():
    objective = recipes.regression_kd(alpha=0.25)
    assert [t.weight for t in objective.terms.values()] == [0.75, 0.25]
    outputs = {"logits": STUDENT}, {"logits": TEACHER}
    metrics = values(objective, *outputs, labels=LABELS, labeled=LABELED)
    label = np.square(STUDENT - LABELS)[LABELED].sum()
    distil = np.square(STUDENT - TEACHER).sum()
    assert metrics["label"] == (pytest.approx(label, rel=1e-5), 8)
    assert metrics["regression_kd"] == (pytest.approx(distil, rel=1e-5), 12)


def test_delta_is_that_of_both_terms_and_the_output_has_a_name():
    objective = recipes.regression_kd(delta=0.5, output="age")
    flat = {"age": STUDENT[:, :1]}, {"age": TEACHER[:, :1]}
    metrics = values(objective, *flat, labels=LABELS[:, 0])
    label = losses.huber_loss(STUDENT[:, 0], LABELS[:, 0], delta=0.5)
    distil = losses.huber_loss(STUDENT[:, 0], TEACHER[:, 0], delta=0.5)
    assert metrics["label"] == (pytest.approx(float(label.sum()), rel=1e-5), 6)
    assert metrics["regression_kd"] == (pytest.approx(float(distil.sum()), rel=1e-5), 6)
    with pytest.raises(ValueError, match="delta must be positive"):
        recipes.regression_kd(delta=0.0)


def test_distributions_are_two_outputs():
    objective = recipes.gaussian_kd(alpha=0.5)
    student = {"mean": STUDENT, "log_variance": SPREAD}
    teacher = {"mean": TEACHER, "log_variance": 0 * SPREAD}
    metrics = values(objective, student, teacher, labels=LABELS, labeled=LABELED)
    label = losses.gaussian_nll((STUDENT, SPREAD), LABELS, where=LABELED)
    distil = losses.gaussian_kl((STUDENT, SPREAD), (TEACHER, 0 * SPREAD))
    assert metrics["label"] == (pytest.approx(float(label.sum()), rel=1e-5), 8)
    assert metrics["gaussian_kd"] == (pytest.approx(float(distil.sum()), rel=1e-5), 12)


def test_a_network_without_these_outputs_is_refused():
    plain = from_function(lambda w, x: x @ w, jax.ShapeDtypeStruct((2, 1), np.float32))
    pair = Pair(plain, plain, jax.ShapeDtypeStruct((6, 2), np.float32))
    with pytest.raises(ValueError, match="needs the student's output 'log_variance'; it has"):
        recipes.create("gaussian_kd", pair)
    with pytest.raises(ValueError, match=r"logits \(6, 1\) have one: .* a value 'regression_kd'"):
        recipes.create("kd", pair)
    assert set(recipes.names(task="values")) == {"regression_kd", "gaussian_kd"}
