"""Memory banks: pure functions that losses and connectors share."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses
from jaxkd.ops import banks

BANK = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
update = jax.jit(banks.update_bank)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rows(number, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(number, 3))).astype(np.float32)


def test_rows_move_by_momentum_and_stay_units():
    new = banks.update_bank(BANK, jnp.array([1]), jnp.array([[1.0, 0.0]]), momentum=0.25)
    moved = np.array([0.75, 0.25]) / np.hypot(0.75, 0.25)
    np.testing.assert_allclose(new, [[1, 0], moved, [0.6, 0.8]], rtol=1e-6)


def test_moves_the_rows_of_the_batch_and_no_other():
    bank, embeddings, ids = rows(5), rows(2, seed=1), np.array([3, 0])
    expected = bank.copy()
    expected[ids] = unit(0.3 * bank[ids] + 0.7 * embeddings)
    chex.assert_trees_all_close(update(bank, ids, embeddings, momentum=0.3), expected, rtol=1e-5)


def test_the_last_selected_occurrence_of_an_example_counts():
    bank, embeddings = rows(5), rows(4, seed=1)
    where = np.array([True, True, True, False])
    embeddings[3] = np.nan
    got = update(bank, np.array([2, 1, 2, 2]), embeddings, where=where)
    expected = bank.copy()
    expected[1], expected[2] = unit(bank[1] + embeddings[1]), unit(bank[2] + embeddings[2])
    chex.assert_trees_all_close(got, expected, rtol=1e-5)


def test_rows_that_do_not_exist_are_ignored():
    bank = rows(5)
    chex.assert_trees_all_equal(update(bank, np.array([-1, 5]), rows(2, seed=1)), bank)


def test_a_sum_of_zero_leaves_the_row():
    bank = rows(5)
    chex.assert_trees_all_equal(update(bank, np.array([2, 4]), -bank[[2, 4]]), bank)


def test_keeps_its_type_and_has_no_gradient():
    bank = rows(5).astype(jnp.bfloat16)
    ids, embeddings = np.array([0, 1]), rows(2, seed=1)
    chex.assert_type(update(bank, ids, embeddings), jnp.bfloat16)
    gradient = jax.grad(lambda e: jnp.sum(banks.update_bank(rows(5), ids, e)))(embeddings)
    chex.assert_trees_all_equal(gradient, jnp.zeros((2, 3)))


def test_explicitly_sharded_batch():
    devices = jax.devices()[: 2 if len(jax.devices()) >= 2 else 1]
    kind = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((len(devices),), ("data",), kind, devices=devices)
    bank, embeddings, ids = rows(5), rows(2, seed=1), np.array([3, 0])
    expected = update(bank, ids, embeddings)
    spec = jax.sharding.PartitionSpec
    with jax.set_mesh(mesh):
        batch = jax.device_put((ids, embeddings), jax.sharding.NamedSharding(mesh, spec("data")))
        everywhere = jax.device_put(bank, jax.sharding.NamedSharding(mesh, spec()))
        got = update(everywhere, *batch)
    assert jax.typeof(got).sharding.is_fully_replicated
    chex.assert_trees_all_close(jax.device_get(got), expected)


def test_update_bank_refuses_what_does_not_fit():
    bank = rows(5)
    with pytest.raises(ValueError, match="integers.*float32"):
        banks.update_bank(bank, np.zeros(2, np.float32), bank[:2])
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        banks.update_bank(bank, np.arange(3), bank[:2])
    with pytest.raises(ValueError, match=r"one width.*\(5, 3\).*\(2, 2\)"):
        banks.update_bank(bank, np.arange(2), bank[:2, :2])
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\], got 1\.5"):
        banks.update_bank(bank, np.arange(2), bank[:2], momentum=1.5)


def test_normalizer_is_the_mean_over_selected_rows():
    embeddings = jnp.array([[1.0, 0.0], [0.0, 1.0], [jnp.nan, 0.0]])
    ids, negatives = jnp.array([0, 1, 99]), jnp.array([[1, 2], [2, 0], [5, 5]])
    where = jnp.array([True, True, False])
    value = banks.crd_normalizer(
        embeddings, BANK, ids=ids, negatives=negatives, temperature=0.5, where=where
    )
    products = np.array([1.0, 0.0, 0.6, 1.0, 0.8, 0.0])
    np.testing.assert_allclose(value, np.log(3 * np.mean(np.exp(products / 0.5))), rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(-1, 3), min_size=6, max_size=6), st.integers(0, 2**31 - 1))
def test_negatives_are_never_of_the_own_class(labels, seed):
    labels = np.array(labels)
    if len(set(labels)) < 2:
        return
    ids = np.arange(6)
    sampled = np.asarray(
        banks.sample_negatives(jax.random.key(seed), ids, banks.negative_pool(labels), 50)
    )
    assert sampled.shape == (6, 50) and sampled.min() >= 0 and sampled.max() < 6
    same = (labels[sampled] == labels[:, None]) & (labels[:, None] >= 0)
    assert not np.any(same)
    assert not np.any(sampled == ids[:, None])


@pytest.mark.parametrize("labels", [[0, 1, 2, 1, 0, 1, 1], np.arange(7)], ids=["classes", "itself"])
def test_all_other_negatives_are_equally_likely(labels):
    labels, number = np.array(labels), 20_000
    pool = banks.negative_pool(labels)
    sampled = np.asarray(banks.sample_negatives(jax.random.key(0), np.arange(7), pool, number))
    for example, row in enumerate(sampled):
        others = np.flatnonzero(labels != labels[example])
        counts = np.bincount(row, minlength=7)
        assert counts.sum() == counts[others].sum()
        deviation = np.sqrt(number / len(others))
        assert np.max(np.abs(counts[others] - number / len(others))) < 5 * deviation


def test_unlabeled_examples_are_classes_of_their_own():
    pool = banks.negative_pool([-1, 0, -1, 0])
    np.testing.assert_array_equal(np.sort(pool.size), [1, 1, 2, 2])


def test_sample_negatives_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one class.*arange"):
        banks.negative_pool([1, 1, 1])
    with pytest.raises(ValueError, match="float64"):
        banks.negative_pool([1.0, 2.0])
    pool = banks.negative_pool([0, 1])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        banks.sample_negatives(jax.random.key(0), np.arange(2), pool, 0)
    with pytest.raises(ValueError, match=r"\(4,\).*\(2, 2\)"):
        banks.sample_negatives(jax.random.key(0), np.zeros((2, 2), int), pool, 1)


def test_what_does_not_fit_is_refused():
    ids, row = jnp.array([0]), jnp.array([[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\], got 2"):
        banks.update_bank(BANK, ids, row, momentum=2)
    with pytest.raises(ValueError, match="must be boolean"):
        banks.update_bank(BANK, ids, row, where=jnp.ones(1))
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(1, 3\)"):
        banks.update_bank(BANK, ids, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="must be integers"):
        banks.update_bank(BANK, ids.astype(float), row)
    with pytest.raises(ValueError, match="one class"):
        banks.negative_pool([1, 1])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        banks.sample_negatives(jax.random.key(0), ids, banks.negative_pool([0, 1]), 0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        banks.crd_normalizer(row, BANK, ids=ids, negatives=ids[:, None], temperature=0.0)


def test_losses_list_them_too():
    assert losses.update_bank is banks.update_bank
    assert losses.sample_negatives is banks.sample_negatives
