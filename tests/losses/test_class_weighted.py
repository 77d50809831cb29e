import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import Objective, Term, losses
from jaxkd.targets import TopK

STUDENT, TEACHER = np.random.default_rng(0).normal(size=(2, 2, 3, 4, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(-1, 3, (2, 3, 4)).astype(np.int32)
WEIGHTS = np.array([0.5, 2.0, 0.0])


def weights_of(labels, unlabeled=0.0):
    return np.where(labels < 0, unlabeled, WEIGHTS[labels])


def mean(loss, *arguments, **keywords):
    total, count = loss(*arguments, **keywords)
    return float(total / count)


def test_the_mean_is_weighted_by_the_class_of_each_pixel():
    label = losses.class_weighted(losses.cross_entropy, WEIGHTS)
    expected = np.average(losses.cross_entropy(STUDENT, LABELS), weights=weights_of(LABELS))
    assert mean(label, STUDENT, LABELS) == pytest.approx(expected, rel=1e-5)
    loss = functools.partial(losses.class_weighted(losses.kd, WEIGHTS), temperature=2.0)
    values = losses.kd(STUDENT, TEACHER, temperature=2.0)
    expected = np.average(values, weights=weights_of(LABELS))
    assert mean(loss, STUDENT, TEACHER, labels=LABELS) == pytest.approx(expected, rel=1e-5)


def test_what_has_no_label_may_have_a_weight_of_its_own():
    loss = losses.class_weighted(losses.kd, WEIGHTS, unlabeled=0.25)
    expected = np.average(losses.kd(STUDENT, TEACHER), weights=weights_of(LABELS, 0.25))
    assert mean(loss, STUDENT, TEACHER, labels=LABELS) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="unlabeled=1 would count .* as a loss of 0"):
        losses.class_weighted(losses.cross_entropy, WEIGHTS, unlabeled=1)


def test_parts_of_a_batch_add_up_and_padding_does_not_count():
    loss = losses.class_weighted(losses.cross_entropy, WEIGHTS)
    whole = loss(STUDENT, LABELS)
    parts = [loss(STUDENT[i : i + 1], LABELS[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=1e-5)
    padded = np.concatenate([STUDENT[:1], np.full_like(STUDENT[:1], np.nan)])

    def total(student):
        return loss(student, LABELS, where=np.array([True, False]))

    np.testing.assert_allclose(total(padded), parts[0], rtol=1e-5)
    gradient = jax.grad(lambda student: total(student)[0])(padded)
    assert np.all(gradient[1] == 0) and np.all(np.isfinite(gradient))


def test_a_term_takes_it_as_it_is():
    """However small the weights are: an objective divides by 1 where a count is less."""
    term = Term(losses.class_weighted(losses.kd, 1e-3 * WEIGHTS), temperature=2.0)
    assert term.required_inputs == {"student", "teacher", "labels"} and term.needs_teacher
    batch = {"labels": LABELS, "labeled": np.array([True, False])}
    total, metrics, _ = Objective(kd=term)({"logits": STUDENT}, {"logits": TEACHER}, batch)
    values = losses.kd(STUDENT[0], TEACHER[0], temperature=2.0)
    expected = np.average(values, weights=weights_of(LABELS[0]))
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert metrics["kd"][1] >= 1
    nothing = {"labels": np.full_like(LABELS, -1)}
    assert Objective(kd=term)({"logits": STUDENT}, {"logits": TEACHER}, nothing)[0] == 0


def test_examples_of_any_loss_are_weighted():
    loss = losses.class_weighted(losses.feature_mse, WEIGHTS)
    assert list(inspect.signature(loss).parameters) == ["student", "teacher", "where", "labels"]
    student, teacher = STUDENT[:, 0, 0], TEACHER[:, 0, 0]
    total, _ = loss(student, teacher, labels=np.array([0, 1]))
    assert total == pytest.approx(np.sum(losses.feature_mse(student, teacher) * np.array([1, 4])))


def test_a_teacher_that_keeps_two_classes_a_pixel_is_weighted_too():
    codec = TopK(2, temperatures=(2.0,))
    sparse = codec.decode(codec.encode(jnp.asarray(TEACHER)), TEACHER.shape[1:])
    loss = losses.class_weighted(losses.kd, WEIGHTS)
    values = losses.kd(STUDENT, sparse, temperature=2.0)
    found = mean(loss, STUDENT, sparse, temperature=2.0, labels=LABELS)
    assert found == pytest.approx(np.average(values, weights=weights_of(LABELS)), rel=1e-5)


def test_weights_and_labels_that_do_not_fit_are_refused():
    for weights in ([[1.0]], [1.0, -1.0], [0.0, 0.0], [np.nan, 1.0], 2.0):
        with pytest.raises(ValueError, match=r"weights must be \[num_classes\]"):
            losses.class_weighted(losses.kd, weights)
    with pytest.raises(ValueError, match="write 0 for what is not to count"):
        losses.class_weighted(losses.kd, [1e-300, 1.0])
    loss = losses.class_weighted(losses.kd, WEIGHTS)
    with pytest.raises(ValueError, match=r"integers \(2, 3, 4\), got int32 labels of shape \(2,\)"):
        loss(STUDENT, TEACHER, labels=np.array([0, 1], np.int32))
    with pytest.raises(ValueError, match="must be boolean"):
        loss(STUDENT, TEACHER, labels=LABELS, where=np.ones(2))
    assert np.isnan(loss(STUDENT, TEACHER, labels=np.full_like(LABELS, 3))[0])
    assert jnp.shape(loss(STUDENT, TEACHER, labels=LABELS)[0]) == ()
