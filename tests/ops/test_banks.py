"""Memory banks: pure functions that losses and connectors share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses
from jaxkd.ops import banks

BANK = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def test_rows_move_by_momentum_and_stay_units():
    new = banks.update_bank(BANK, jnp.array([1]), jnp.array([[1.0, 0.0]]), momentum=0.25)
    moved = np.array([0.75, 0.25]) / np.hypot(0.75, 0.25)
    np.testing.assert_allclose(new, [[1, 0], moved, [0.6, 0.8]], rtol=1e-6)


def test_normalizer_is_the_mean_over_selected_rows():
    embeddings = jnp.array([[1.0, 0.0], [0.0, 1.0], [jnp.nan, 0.0]])
    ids, negatives = jnp.array([0, 1, 99]), jnp.array([[1, 2], [2, 0], [5, 5]])
    where = jnp.array([True, True, False])
    value = banks.crd_normalizer(
        embeddings, BANK, ids=ids, negatives=negatives, temperature=0.5, where=where
    )
    products = np.array([1.0, 0.0, 0.6, 1.0, 0.8, 0.0])
    np.testing.assert_allclose(value, np.log(3 * np.mean(np.exp(products / 0.5))), rtol=1e-6)


def test_what_does_not_fit_is_refused():
    ids, rows = jnp.array([0]), jnp.array([[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\], got 2"):
        banks.update_bank(BANK, ids, rows, momentum=2)
    with pytest.raises(ValueError, match="must be boolean"):
        banks.update_bank(BANK, ids, rows, where=jnp.ones(1))
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(1, 3\)"):
        banks.update_bank(BANK, ids, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="must be integers"):
        banks.update_bank(BANK, ids.astype(float), rows)
    with pytest.raises(ValueError, match="one class"):
        banks.negative_pool([1, 1])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        banks.sample_negatives(jax.random.key(0), ids, banks.negative_pool([0, 1]), 0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        banks.crd_normalizer(rows, BANK, ids=ids, negatives=ids[:, None], temperature=0.0)


def test_losses_list_them_too():
    assert losses.update_bank is banks.update_bank
    assert losses.sample_negatives is banks.sample_negatives
