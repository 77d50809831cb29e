"""Sigmoids from labels and teacher: one logit, or several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import few

from jaxkd import Objective, Term, from_function, losses, recipes
from jaxkd.recipes import Pair

INPUTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def linear(num_classes, seed=0, flat=False):
    weights = np.random.default_rng(seed).normal(size=(3, num_classes)).astype(np.float32)
    return from_function(lambda w, x: (x @ w)[:, 0] if flat else x @ w, weights)


def values(objective, student, teacher, **batch):
    _, metrics, _ = jax.jit(objective)(student, teacher, batch)
    return {name: (float(total), float(count)) for name, (total, count) in metrics.items()}


def test_means_are_over_the_entries_that_are_known():
    student, teacher = (np.asarray(linear(4, seed).params)[:2] for seed in (0, 1))
    labels = np.array([[1, 0, -1, 1], [0, -1, -1, 1]], np.int32)
    options = {"pos_weight": np.arange(1.0, 5.0), "label_smoothing": 0.1}
    objective = recipes.binary_kd(alpha=0.25, temperature=2.0, **options)
    assert [t.weight for t in objective.terms.values()] == [0.75, 0.25]
    metrics = values(objective, {"logits": student}, {"logits": teacher}, labels=labels)
    label = losses.binary_cross_entropy(student, labels, **options)
    distil = losses.binary_kd(student, teacher, temperature=2.0)
    assert metrics["label"] == (pytest.approx(float(label.sum()), rel=1e-5), 5)
    assert metrics["binary_kd"] == (pytest.approx(float(distil.sum()), rel=1e-5), 8)
    padded = {"labels": labels, "where": np.array([True, False])}
    metrics = values(objective, {"logits": student}, {"logits": teacher}, **padded)
    assert metrics["label"][1] == 3 and metrics["binary_kd"][1] == 4


@few("flat", [True, False])
def test_one_logit_has_labels_of_one_axis(flat):
    student, teacher = (linear(1, seed, flat) for seed in (0, 1))
    method = recipes.create("binary_kd", Pair(student, teacher, INPUTS))
    outputs = [
        {"logits": n.apply(n.params, n.state, INPUTS)[0]["logits"]} for n in (student, teacher)
    ]
    metrics = values(method.objective, *outputs, labels=np.array([1, 0, 1, -1, -1, 0]))
    assert metrics["label"][1] == 4 and metrics["binary_kd"][1] == 6
    assert metrics["label"][0] > 0.1 and metrics["binary_kd"][0] > 0.1


@pytest.mark.parametrize("name", ["kd", "dkd", "labels", "dist"])
def test_recipes_of_classes_name_it_for_one_logit(name):
    for flat in (True, False):
        pair = Pair(linear(1, 0, flat), linear(1, 1, flat), INPUTS)
        with pytest.raises(ValueError, match=rf"'{name}' compares classes, .*\(6,.*'binary_kd'"):
            recipes.create(name, pair)


def test_recipes_of_values_take_one_logit():
    pair = Pair(linear(1), linear(1, 1), INPUTS)
    assert recipes.create("logit_mse", pair, label_weight=0).student is pair.student


def test_an_objective_refuses_logits_without_an_axis_of_classes():
    logits = {"logits": jax.ShapeDtypeStruct((6,), jnp.float32)}
    with pytest.raises(ValueError, match=r"'kd' has an axis of classes.*\(6,\).*losses\.binary_kd"):
        jax.eval_shape(
            lambda s, t: recipes.kd(alpha=1.0)(s, t, {"inputs": INPUTS})[0], logits, logits
        )


def test_values_of_one_axis_have_a_bound_by_the_teacher():
    values = {"logits": jax.ShapeDtypeStruct((6,), jnp.float32)}
    objective = Objective(bound=Term(losses.bounded_regression))
    batch = {"labels": np.zeros(6, np.float32)}
    assert jax.eval_shape(lambda s, t: objective(s, t, batch)[0], values, values).shape == ()


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="label_smoothing must lie"):
        recipes.binary_kd(label_smoothing=2.0)
    with pytest.raises(ValueError, match="alpha must lie"):
        recipes.binary_kd(alpha=-1.0)


def test_methods_are_listed_by_task():
    assert "binary_kd" in recipes.names(task="binary")
    assert "binary_kd" not in recipes.names(task="classes") and "kd" in recipes.names(
        task="classes"
    )
