"""Several teachers: weights by hand-written formulas, samples, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

from jaxkd import Objective, Term, losses, make_train_step
from jaxkd.strategies import (
    ConfidenceWeights,
    RandomTeacher,
    joint_network,
    multi_teacher,
    multi_teacher_loss,
)

B, C = 6, 4
LABELS = np.array([0, 1, 2, 3, -1, 1])
RANDOM = np.random.default_rng(0)
STUDENT, *TEACHERS = RANDOM.normal(size=(4, B, C)).astype(np.float32) * 3
TEACHERS = tuple(TEACHERS)
NAMES = ("a", "b", "c")


def log_softmax(x, t=1.0):
    x = np.asarray(x, np.float64) / t
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kd(student, teacher, t):
    p, q = log_softmax(teacher, t), log_softmax(student, t)
    return t**2 * (np.exp(p) * (p - q)).sum(-1)


def confidence():
    """`[K, B]`, with 1/K where there is no label."""
    wrong = np.stack([-log_softmax(t)[np.arange(B), LABELS] for t in TEACHERS])
    soft = np.exp(wrong) / np.exp(wrong).sum(0)
    return np.where(LABELS >= 0, (1 - soft) / (len(TEACHERS) - 1), 1 / len(TEACHERS))


def value(objective, labels=LABELS, key=0):
    _, state = objective.connectors()
    teacher = {f"{name}.logits": x for name, x in zip(NAMES, TEACHERS, strict=True)}
    total, metrics, _ = objective(
        {"logits": STUDENT}, teacher, {"labels": labels}, params=dict.fromkeys(state, {}),
        state=state, train=True, key=jax.random.key(key),
    )  # fmt: skip
    return total, metrics


def test_mean_and_weighted_mean():
    each = np.stack([kd(STUDENT, t, 4.0) for t in TEACHERS])
    _, metrics = value(multi_teacher(NAMES))
    np.testing.assert_allclose(metrics["kd"][0] / B, each.mean(), rtol=1e-5)
    weights = {"a": 5, "b": 3, "c": 2}
    total, metrics = value(multi_teacher(NAMES, weights=weights, alpha=0.7))
    expected = (np.array([0.5, 0.3, 0.2])[:, None] * each).sum(0).mean()
    np.testing.assert_allclose(metrics["kd"][0] / B, expected, rtol=1e-5)
    label = -log_softmax(STUDENT)[np.arange(B), LABELS][LABELS >= 0].mean()
    np.testing.assert_allclose(total, 0.7 * expected + 0.3 * label, rtol=1e-5)


def test_confidence_follows_the_formula_and_is_equal_without_label():
    made = ConfidenceWeights()(STUDENT, teacher=TEACHERS, labels=jnp.asarray(LABELS))
    np.testing.assert_allclose(made["weights"], confidence(), atol=1e-6)
    np.testing.assert_allclose(made["weights"].sum(0), 1, rtol=1e-6)
    each = np.stack([kd(STUDENT, t, 2.0) for t in TEACHERS])
    _, metrics = value(multi_teacher(NAMES, how="confidence", temperature=2.0))
    np.testing.assert_allclose(
        metrics["kd"], [(confidence() * each).sum(), B], rtol=1e-5
    )  # unlabeled examples count


def test_random_teacher_is_one_of_them_in_their_shares():
    connector = RandomTeacher((0.5, 0.25, 0.25), rngs=nnx.Rngs(0))
    students = np.zeros((4000, C), np.float32)
    weights = connector(students, teacher=TEACHERS)["weights"]
    assert set(np.unique(weights)) == {0.0, 1.0}
    np.testing.assert_array_equal(weights.sum(0), 1)
    np.testing.assert_allclose(weights.mean(1), [0.5, 0.25, 0.25], atol=0.04)


def test_random_teacher_is_sampled_with_the_key_of_the_step():
    objective = multi_teacher(NAMES, how="random", temperature=2.0)
    totals = {key: float(value(objective, key=key)[1]["kd"][0]) for key in range(5)}
    assert float(value(objective, key=3)[1]["kd"][0]) == totals[3]
    assert len(set(totals.values())) == 5
    each = np.stack([kd(STUDENT, t, 2.0) for t in TEACHERS])
    sums = [each[list(chosen), range(B)].sum() for chosen in np.ndindex(*(3,) * B)]
    for total in totals.values():
        assert np.isclose(sums, total, rtol=1e-5).any()


def test_no_gradient_flows_to_weights_or_teachers():
    def loss(weights, teachers):
        return multi_teacher_loss(losses.kd)(STUDENT, teachers, weights=weights).sum()

    gradients = jax.grad(loss, argnums=(0, 1))(jnp.ones((3, B)), TEACHERS)
    assert not any(np.any(gradient) for gradient in jax.tree.leaves(gradients))


def test_tokens_and_losses_that_couple_a_batch():
    student, teachers = STUDENT[:, None], tuple(t[:, None] for t in TEACHERS)
    weights = confidence()
    tokens = multi_teacher_loss(losses.kd)(student, teachers, weights=weights)
    assert tokens.shape == (B, 1)
    np.testing.assert_allclose(
        tokens[:, 0], multi_teacher_loss(losses.kd)(STUDENT, TEACHERS, weights=weights), rtol=1e-6
    )
    coupled = multi_teacher_loss(losses.dist)(STUDENT, TEACHERS, weights=(0.2, 0.3, 0.5))
    apart = [losses.dist(STUDENT, teacher) for teacher in TEACHERS]
    np.testing.assert_allclose(coupled, np.dot([0.2, 0.3, 0.5], apart), rtol=1e-5)
    with pytest.raises(ValueError, match=r"weights of shape \(3, 6\) do not fit 3 teachers"):
        multi_teacher_loss(losses.dist)(STUDENT, TEACHERS, weights=weights)


@few("how", ["mean", "confidence", "random"])
def test_a_step_with_teachers_online(mlp, how):
    teacher, student, sgd = joint_network({"a": mlp(1), "b": mlp(2)}), mlp(3), optax.sgd(0.1)
    objective = multi_teacher(("a", "b"), how=how)
    step = make_train_step(student, objective, sgd, teacher=teacher)
    state = step.init()
    batch = {"inputs": np.ones((B, 8, 8, 1), np.float32), "labels": np.maximum(LABELS, 0)}
    state, metrics = step(state, batch)
    assert np.isfinite(metrics["loss"]) and int(state.step) == 1


def test_terms_of_ones_own():
    loss = functools.partial(multi_teacher_loss(losses.kl_divergence), weights=(1.0, 0.0))
    term = Term(loss, temperature=2.0, teacher=("a.logits", "b.logits"))
    teacher = {"a.logits": TEACHERS[0], "b.logits": TEACHERS[1]}
    total, *_ = Objective(kl=term)({"logits": STUDENT}, teacher, {})
    np.testing.assert_allclose(total, kd(STUDENT, TEACHERS[0], 2.0).mean() / 4, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least two networks"):
        multi_teacher(("a",))
    with pytest.raises(ValueError, match="at least two networks"):
        multi_teacher(("a", "a"))
    with pytest.raises(ValueError, match="how must be one of"):
        multi_teacher(NAMES, how="vote")
    with pytest.raises(ValueError, match="neither confidence"):
        multi_teacher(NAMES, how="confidence", weights=dict.fromkeys(NAMES, 1))
    with pytest.raises(ValueError, match="neither confidence"):
        multi_teacher(NAMES, weights={"a": 1.0})
    with pytest.raises(ValueError, match="must not be negative"):
        multi_teacher(NAMES, weights={"a": 1, "b": -1, "c": 1})
    with pytest.raises(ValueError, match="alpha must lie"):
        multi_teacher(NAMES, alpha=1.5)
    with pytest.raises(ValueError, match="a tuple of several teachers"):
        multi_teacher_loss(losses.kd)(STUDENT, TEACHERS[0])
    with pytest.raises(ValueError, match="name at least two"):
        ConfidenceWeights()(STUDENT, teacher=TEACHERS[:1], labels=LABELS)
    with pytest.raises(ValueError, match="2 probabilities were given 3 teachers"):
        RandomTeacher((1, 1), rngs=nnx.Rngs(0))(STUDENT, teacher=TEACHERS)
    logits, indices = jax.lax.top_k(TEACHERS[0], 2)
    tail = jnp.zeros((B, 1))
    sparse = losses.SparseLogits(indices, logits, tail, temperatures=(4.0,), num_classes=C)
    with pytest.raises(TypeError, match="dense logits, not SparseLogits"):
        ConfidenceWeights()(STUDENT, teacher=(sparse, sparse), labels=LABELS)
