import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(-1, 3), min_size=6, max_size=6), st.integers(0, 2**31 - 1))
def test_never_of_the_own_class(labels, seed):
    labels = np.array(labels)
    if len(set(labels)) < 2:
        return
    ids = np.arange(6)
    sampled = np.asarray(
        losses.sample_negatives(jax.random.key(seed), ids, losses.negative_pool(labels), 50)
    )
    assert sampled.shape == (6, 50) and sampled.min() >= 0 and sampled.max() < 6
    same = (labels[sampled] == labels[:, None]) & (labels[:, None] >= 0)
    assert not np.any(same)
    assert not np.any(sampled == ids[:, None])


@pytest.mark.parametrize("labels", [[0, 1, 2, 1, 0, 1, 1], np.arange(7)], ids=["classes", "itself"])
def test_all_others_are_equally_likely(labels):
    labels, number = np.array(labels), 20_000
    pool = losses.negative_pool(labels)
    sampled = np.asarray(losses.sample_negatives(jax.random.key(0), np.arange(7), pool, number))
    for example, row in enumerate(sampled):
        others = np.flatnonzero(labels != labels[example])
        counts = np.bincount(row, minlength=7)
        assert counts.sum() == counts[others].sum()
        deviation = np.sqrt(number / len(others))
        assert np.max(np.abs(counts[others] - number / len(others))) < 5 * deviation


def test_unlabeled_examples_are_classes_of_their_own():
    pool = losses.negative_pool([-1, 0, -1, 0])
    np.testing.assert_array_equal(np.sort(pool.size), [1, 1, 2, 2])


def test_errors():
    with pytest.raises(ValueError, match="one class.*arange"):
        losses.negative_pool([1, 1, 1])
    with pytest.raises(ValueError, match="float64"):
        losses.negative_pool([1.0, 2.0])
    pool = losses.negative_pool([0, 1])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        losses.sample_negatives(jax.random.key(0), np.arange(2), pool, 0)
    with pytest.raises(ValueError, match=r"\(4,\).*\(2, 2\)"):
        losses.sample_negatives(jax.random.key(0), np.zeros((2, 2), int), pool, 1)
