import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from codec_calls import QUICK, encode, roundtrip
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses
from jaxkd.targets import TopK, TopP

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(7, 30)) * 3, jnp.float32)


@pytest.mark.parametrize("cap", [1, 6, 30])
@pytest.mark.parametrize("p", [0.3, 0.95, 1.0])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.01, 10))
def test_the_fewest_classes_that_hold_the_mass(p, cap, seed, scale):
    logits = (np.random.default_rng(seed).normal(size=(5, 30)) * scale).astype(np.float32)
    sparse = jax.device_get(roundtrip(TopP(p, cap, values="float32"), logits))
    valid = sparse.indices < 30
    descending = -np.sort(-np.exp(logits.astype(np.float64)), axis=-1)
    cumulated = np.cumsum(descending, axis=-1) / descending.sum(-1, keepdims=True)
    for row in range(5):
        count = int(valid[row].sum())
        assert np.all(valid[row, :count])  # used places first
        assert 1 <= count <= cap
        assert count == cap or cumulated[row, count - 1] >= p - 5e-6
        assert count == 1 or cumulated[row, count - 2] < p + 5e-6
        # The mass of the rest, which differs in size by row, is exact.
        total = np.logaddexp.reduce([*sparse.logits[row], sparse.tail[row, 0]])
        np.testing.assert_allclose(
            np.exp(sparse.tail[row, 0] - total), 1 - cumulated[row, count - 1], atol=5e-6
        )


@pytest.mark.parametrize("values", ["float32", "int8"])
def test_losses_are_those_of_a_top_k_of_each_row(values):
    """Rows of one class, of some, and of as many as the cap allows."""
    scale = np.array([90.0, 3.0, 3.0, 3.0, 0.5, 0.1, 0.0], np.float32)[:, None] / 3
    logits, student = LOGITS * scale, LOGITS[::-1]
    sparse = roundtrip(TopP(0.9, 20, (2.0,), values), logits)
    counts = np.sum(np.asarray(sparse.indices) < 30, axis=-1)
    assert counts.min() == 1
    assert counts.max() == 20
    assert len(set(counts)) > 2

    @functools.partial(jax.jit, compiler_options=QUICK)
    def evaluate(student, teacher):
        return jax.value_and_grad(losses.kd)(student, teacher, temperature=2.0)

    tolerance = {"float32": 1e-5, "int8": 1e-1}[values]
    for row, count in enumerate(counts):
        if count in counts[:row]:
            continue
        alone = roundtrip(TopK(int(count), (2.0,), "float32"), logits[row : row + 1])
        got, expected = (
            evaluate(student[row], jax.tree.map(lambda x, at=at: x[at], teacher))
            for teacher, at in ((sparse, row), (alone, 0))
        )
        chex.assert_trees_all_close(got, expected, atol=tolerance, rtol=1e-4)


def test_classes_that_are_masked_or_impossible_are_not_kept():
    logits = jnp.array([[1.0, -jnp.inf, 0.0, -jnp.inf], [0.0, -300.0, -300.0, -300.0]])
    sparse = roundtrip(TopP(1.0, 4), logits)
    np.testing.assert_array_equal(sparse.indices, [[0, 2, 4, 4], [0, 4, 4, 4]])
    assert np.isneginf(sparse.tail[0, 0])
    reverse = jax.jit(losses.reverse_kl_divergence)(jnp.zeros((2, 4)), sparse)
    assert np.all(np.isfinite(reverse))


def test_unused_places_hold_one_value():
    arrays = encode(TopP(0.5, 20), LOGITS * 10, {})
    used = ~np.isneginf(np.asarray(arrays["values"], np.float32))
    assert used.mean() < 0.1
    np.testing.assert_array_equal(np.asarray(arrays["indices"])[~used], 0)
