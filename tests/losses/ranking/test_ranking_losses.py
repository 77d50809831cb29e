"""Losses of lists of candidates, against plain loops over pairs and lists."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

STUDENT, TEACHER = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
RELEVANCE = np.array([[1, 0, 0, 0, 0], [0, 2, 1, -1, 0], [0, 0, -1, -1, -1], [-1, -1, -1, 1, 0]])


def over_pairs(student, teacher, relevance):
    """The definition of margin_mse, for one list."""
    pairs = [
        (i, j)
        for i, j in itertools.permutations(range(len(relevance)), 2)
        if relevance[i] > 0 and relevance[j] == 0
    ]
    margins = [(student[i] - student[j]) - (teacher[i] - teacher[j]) for i, j in pairs]
    return np.mean(np.square(margins)) if pairs else 0.0


def test_margin_mse_is_the_mean_over_all_pairs():
    expected = [over_pairs(*rows) for rows in zip(STUDENT, TEACHER, RELEVANCE, strict=True)]
    value = losses.margin_mse(STUDENT, TEACHER, relevance=RELEVANCE)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert expected[2] == value[2] == 0


def test_the_first_candidate_is_the_positive_without_relevances():
    first = np.broadcast_to(np.eye(5, dtype=np.int32)[0], (4, 5))
    np.testing.assert_allclose(
        losses.margin_mse(STUDENT, TEACHER),
        losses.margin_mse(STUDENT, TEACHER, relevance=first),
        rtol=1e-6,
    )
    margins = (STUDENT[:, :1] - STUDENT[:, 1:]) - (TEACHER[:, :1] - TEACHER[:, 1:])
    np.testing.assert_allclose(
        losses.margin_mse(STUDENT, TEACHER), np.mean(margins**2, axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["margin_mse", "listwise_kl"])
def test_a_constant_on_all_scores_of_a_list_changes_nothing(name):
    loss = getattr(losses, name)
    np.testing.assert_allclose(
        loss(STUDENT + 3, TEACHER - 7), loss(STUDENT, TEACHER), rtol=1e-4, atol=1e-6
    )


def test_listwise_kl_is_the_divergence_of_the_candidates_that_exist():
    value = losses.listwise_kl(STUDENT, TEACHER, relevance=RELEVANCE, temperature=2.0)
    for row, scores in enumerate(zip(STUDENT, TEACHER, strict=True)):
        student, teacher = (side[RELEVANCE[row] >= 0] / 2 for side in scores)
        log_q, log_p = jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)
        np.testing.assert_allclose(
            value[row], 4 * np.sum(np.exp(log_p) * (log_p - log_q)), rtol=1e-5, atol=1e-7
        )


def test_listnet_is_the_cross_entropy_with_the_softmax_of_the_relevances():
    value = losses.listnet(STUDENT, RELEVANCE)
    for row, relevance in enumerate(RELEVANCE):
        exists = relevance >= 0
        target = jax.nn.softmax(jnp.asarray(relevance[exists], jnp.float32))
        expected = -np.sum(target * jax.nn.log_softmax(STUDENT[row][exists]))
        np.testing.assert_allclose(value[row], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        losses.margin_mse,
        losses.listwise_kl,
        lambda student, teacher: losses.listnet(student, np.zeros(np.shape(student), int)),
    ],
)
def test_a_score_of_minus_infinity_is_no_candidate(loss):
    """On either side, whatever stands on the other one."""
    keep = np.array([0, 1, 3, 4])
    expected = loss(STUDENT[:, keep], TEACHER[:, keep])
    masked = jnp.asarray(STUDENT).at[:, 2].set(-jnp.inf)

    def total(student):
        value = loss(student, TEACHER)
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(masked)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_array_equal(gradient[:, 2], 0)
    assert np.all(np.isfinite(gradient))


def test_the_teachers_mask_is_no_candidate_either():
    masked = np.where(np.arange(5) == 2, -np.inf, TEACHER).astype(np.float32)
    keep = np.array([0, 1, 3, 4])
    for loss in (losses.margin_mse, losses.listwise_kl):
        np.testing.assert_allclose(
            loss(STUDENT, masked), loss(STUDENT[:, keep], TEACHER[:, keep]), rtol=1e-5
        )


def test_lists_and_relevances_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(4, 1\) are lists of one candidate.*\.reshape\(batch"):
        losses.margin_mse(STUDENT[:, :1], TEACHER[:, :1])
    with pytest.raises(ValueError, match=r"relevance of shape \(4,\) must have .*\(4, 5\)"):
        losses.listwise_kl(STUDENT, TEACHER, relevance=RELEVANCE[:, 0])
    with pytest.raises(ValueError, match=r"must be integers.*not float32: write relevance\.astype"):
        losses.listnet(STUDENT, STUDENT)


def test_a_sparse_teacher_gives_a_bound_and_takes_no_relevances():
    order = np.argsort(-TEACHER)[:, :3]
    logits = np.take_along_axis(TEACHER, order, 1)
    rest = np.take_along_axis(TEACHER, np.argsort(-TEACHER)[:, 3:], 1)
    sparse = losses.SparseLogits(
        indices=jnp.asarray(order),
        logits=jnp.asarray(logits),
        tail=jax.nn.logsumexp(rest, axis=-1)[:, None],
        temperatures=(1.0,),
        num_classes=5,
    )
    bound, value = losses.listwise_kl(STUDENT, sparse), losses.listwise_kl(STUDENT, TEACHER)
    assert np.all(bound <= value + 1e-6) and np.all(bound > 0)
    with pytest.raises(TypeError, match="leave relevance out"):
        losses.listwise_kl(STUDENT, sparse, relevance=RELEVANCE)
    with pytest.raises(TypeError, match="scores of all candidates"):
        losses.margin_mse(STUDENT, sparse)
