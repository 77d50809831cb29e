import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses


def test_mean_of_the_selected():
    values = jnp.array([[1.0, 2.0], [3.0, 10.0]])
    np.testing.assert_allclose(losses.masked_mean(values), 4.0)
    where = jnp.array([[True, False], [True, False]])
    np.testing.assert_allclose(losses.masked_mean(values, where), 2.0)
    np.testing.assert_allclose(losses.masked_mean(values, jnp.array([[False], [True]])), 6.5)
    np.testing.assert_allclose(losses.masked_mean(values, jnp.array([0, 1])), 6.0)


def test_nothing_selected_is_zero_with_zero_gradient():
    values = jnp.array([1.0, jnp.nan])
    value, gradient = jax.value_and_grad(losses.masked_mean)(values, jnp.zeros(2, bool))
    assert value == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros(2))
    assert losses.masked_mean(jnp.zeros(0)) == 0


@pytest.mark.parametrize("filler", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_masked_poisons_nothing(filler):
    values, where = jnp.array([2.0, filler, 4.0]), jnp.array([True, False, True])
    value, gradient = jax.value_and_grad(losses.masked_mean)(values, where)
    assert value == 3
    chex.assert_trees_all_equal(gradient, jnp.array([0.5, 0.0, 0.5]))


def test_what_is_selected_is_not_hidden():
    assert jnp.isnan(losses.masked_mean(jnp.array([1.0, jnp.nan])))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_float32_at_least(dtype):
    total, count = losses.masked_sum_and_count(jnp.ones(1000, dtype), jnp.ones(1000, bool))
    chex.assert_type([total, count], jnp.float32)
    assert total == count == 1000
    total, count = losses.masked_sum_and_count(jnp.ones(1000, dtype))
    chex.assert_type([total, count], jnp.float32)
    assert total == count == 1000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), st.booleans()), min_size=6, max_size=6))
def test_parts_add_up(pairs):
    """Micro-batches of two, whatever their masks, give the mean of the whole."""
    values = jnp.array([value for value, _ in pairs])
    where = jnp.array([selected for _, selected in pairs])
    parts = [losses.masked_sum_and_count(values[i : i + 2], where[i : i + 2]) for i in (0, 2, 4)]
    total, count = map(sum, zip(*parts, strict=True))
    np.testing.assert_allclose(
        total / max(count, 1), losses.masked_mean(values, where), rtol=1e-5, atol=1e-5
    )


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) does not broadcast to values of shape \(2,\)"):
        losses.masked_mean(jnp.ones(2), jnp.ones(3, bool))
    with pytest.raises(ValueError, match="does not broadcast"):
        losses.masked_mean(jnp.ones(2), jnp.ones((2, 2), bool))
    with pytest.raises(ValueError, match="boolean, got float32"):
        losses.masked_mean(jnp.ones(2), jnp.array([0.5, 1.0]))
