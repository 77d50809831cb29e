import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rows(number, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(number, 3))).astype(np.float32)


update = jax.jit(losses.update_bank)


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
    gradient = jax.grad(lambda e: jnp.sum(losses.update_bank(rows(5), ids, e)))(embeddings)
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


def test_errors():
    bank = rows(5)
    with pytest.raises(ValueError, match="integers.*float32"):
        losses.update_bank(bank, np.zeros(2, np.float32), bank[:2])
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        losses.update_bank(bank, np.arange(3), bank[:2])
    with pytest.raises(ValueError, match=r"one width.*\(5, 3\).*\(2, 2\)"):
        losses.update_bank(bank, np.arange(2), bank[:2, :2])
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\], got 1\.5"):
        losses.update_bank(bank, np.arange(2), bank[:2], momentum=1.5)
