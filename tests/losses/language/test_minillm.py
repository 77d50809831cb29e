import numpy as np
import pytest

from jaxkd import losses


def test_returns_are_discounted_and_divided_by_the_tokens_they_span():
    rewards = np.array([[1.0, 2.0, 4.0, 9.0]])
    where = np.array([[True, True, True, False]])
    returns = losses.length_normalized_returns(rewards, discount=0.5, where=where)
    np.testing.assert_allclose(returns, [[(1 + 1 + 1) / 3, (2 + 2) / 2, 4, 0]], rtol=1e-6)


def test_padding_changes_nothing():
    values = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    padded = np.concatenate([values, np.full((3, 2), np.nan, np.float32)], axis=1)
    where = np.isfinite(padded)
    for function in (losses.whiten, losses.length_normalized_returns):
        np.testing.assert_allclose(
            function(padded, where=where)[:, :4], function(values), rtol=1e-5, atol=1e-6
        )
    white = np.asarray(losses.whiten(values))
    np.testing.assert_allclose([white.mean(), white.std(ddof=1)], [0, 1], atol=1e-6)


def test_one_value_or_equal_values_whiten_to_zero():
    np.testing.assert_array_equal(losses.whiten(np.full((1, 1), 3.0)), 0)
    np.testing.assert_array_equal(losses.whiten(np.full((2, 2), 3.0)), 0)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\[batch, tokens\]"):
        losses.whiten(np.zeros(3))
    with pytest.raises(ValueError, match="discount"):
        losses.length_normalized_returns(np.zeros((1, 3)), discount=2.0)
