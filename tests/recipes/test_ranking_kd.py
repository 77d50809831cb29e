"""Ranked candidates from relevances and teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import from_function, losses, recipes

STUDENT, TEACHER = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
RELEVANCE = np.array([[1, 0, -1], [0, 0, 1], [0, 0, 0], [1, -1, -1]], np.int32)


def values(objective, logits=STUDENT, **batch):
    _, metrics, _ = objective({"logits": logits}, {"logits": TEACHER}, batch)
    return {name: (float(total), float(count)) for name, (total, count) in metrics.items()}


def test_means_are_over_the_lists_with_candidates_to_compare():
    objective = recipes.ranking_kd(alpha=0.25)
    assert [term.weight for term in objective.terms.values()] == [0.75, 0.25]
    metrics = values(objective, labels=RELEVANCE)
    margins = losses.margin_mse(STUDENT, TEACHER, relevance=RELEVANCE)
    assert metrics["ranking_kd"] == (pytest.approx(float(margins[:2].sum()), rel=1e-5), 2)
    label = losses.listnet(STUDENT, RELEVANCE)
    assert metrics["label"] == (pytest.approx(float(label[:2].sum()), rel=1e-5), 2)
    padded = values(objective, labels=RELEVANCE, where=np.array([True, False, True, True]))
    assert padded["ranking_kd"][1] == padded["label"][1] == 1


def test_distributions_need_two_candidates_and_no_relevant_one():
    objective = recipes.ranking_kd(loss="listwise_kl", temperature=2.0, relevance="labels.rank")
    metrics = values(objective, labels={"rank": RELEVANCE, "other": jnp.zeros(4)})
    expected = losses.listwise_kl(STUDENT, TEACHER, relevance=RELEVANCE, temperature=2.0)
    assert list(metrics) == ["ranking_kd"]
    assert metrics["ranking_kd"] == (pytest.approx(float(expected.sum()), rel=1e-5), 3)


def test_without_relevances_the_first_candidate_is_the_relevant_one():
    total, count = values(recipes.ranking_kd(relevance=None))["ranking_kd"]
    assert (total, count) == (pytest.approx(float(losses.margin_mse(STUDENT, TEACHER).sum())), 4)


def test_listnet_learns_from_graded_relevances_that_are_all_positive():
    graded = np.array([[2, 1, -1], [2, 2, 2], [3, 1, 2], [1, -1, -1]], np.int32)
    metrics = values(recipes.ranking_kd(alpha=0.25), labels=graded)
    assert (metrics["label"][1], metrics["ranking_kd"][1]) == (2, 0)


def test_the_weights_of_a_population_may_be_traced():
    def total(alpha):
        objective = recipes.ranking_kd(alpha=alpha)
        return objective({"logits": STUDENT}, {"logits": TEACHER}, {"labels": RELEVANCE})[0]

    assert jax.eval_shape(total, jnp.float32(1.0)).shape == ()


def test_scores_of_single_pairs_are_to_be_lists():
    with pytest.raises(ValueError, match=r"lists of one candidate.*reshape\(batch, candidates\)"):
        values(recipes.ranking_kd(), labels=RELEVANCE[:, :1], logits=STUDENT[:, :1])


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="margin_mse has no temperature, which is 2.0"):
        recipes.ranking_kd(temperature=2.0)
    with pytest.raises(ValueError, match="must be one of .*'listwise_kl', 'margin_mse'.*not 'kl'"):
        recipes.ranking_kd(loss="kl")
    with pytest.raises(ValueError, match=r"alpha=0.5 learns from relevances, .*relevance=\"labels"):
        recipes.ranking_kd(alpha=0.5, relevance=None)
    with pytest.raises(ValueError, match="alpha must lie"):
        recipes.ranking_kd(alpha=2.0)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_scores_of_pairs_that_stand_alone_are_refused(shape):
    network = from_function(lambda w, x: (x @ w).reshape(shape), jnp.ones((3, 1)))
    pair = recipes.Pair(network, network, STUDENT)
    with pytest.raises(ValueError, match=r"compares the candidates .* \(4,.*\.reshape\(batch"):
        recipes.create("ranking_kd", pair)
