import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.networks import as_connector

MAPS = jax.random.normal(jax.random.key(0), (4, 6, 6, 8))


@pytest.mark.parametrize(
    ("mask", "shape"), [("channels", (4, 1, 1, 8)), ("positions", (4, 6, 6, 1))]
)
def test_given_noise_masks_what_is_below_the_ratio(mask, shape):
    module = connectors.MGD(8, 8, mask=mask, mask_ratio=0.5, rngs=nnx.Rngs(0))
    assert module.align is None
    noise = jax.random.uniform(jax.random.key(1), shape)
    masked = MAPS * (noise >= 0.5)
    expected = module.second(nnx.relu(module.first(masked)))
    np.testing.assert_allclose(module(MAPS, noise=noise), expected, rtol=1e-5, atol=1e-6)
    module.eval()
    unmasked = module.second(nnx.relu(module.first(MAPS)))
    np.testing.assert_allclose(module(MAPS), unmasked, rtol=1e-5, atol=1e-6)


def test_the_mask_depends_on_the_key_alone():
    connector = as_connector(connectors.MGD(8, 6, mask_ratio=0.5, rngs=nnx.Rngs(0)))
    assert connector.requires == frozenset() and connector.state == {}

    @jax.jit
    def masked(seed):
        key = jax.random.key(seed)
        return connector.apply(connector.params, {}, MAPS, train=True, key=key)[0]["student"]

    np.testing.assert_array_equal(masked(1), masked(1))
    assert not np.allclose(masked(1), masked(2))


def test_maps_of_another_size_are_pooled_by_the_loss():
    module = connectors.MGD(8, 6, rngs=nnx.Rngs(0))
    assert losses.mgd(module(MAPS), jnp.ones((4, 3, 3, 6))).shape == (4,)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="'pixels'"):
        connectors.MGD(8, 8, mask="pixels", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\[0, 1\), not 1"):
        connectors.MGD(8, 8, mask_ratio=1.0, rngs=nnx.Rngs(0))
    module = connectors.MGD(8, 8, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"must be \(4, 1, 1, 8\), not \(4, 8\)"):
        module(MAPS, noise=jnp.ones((4, 8)))
    with pytest.raises(ValueError, match=r"not \(4, 8\)"):
        module(jnp.ones((4, 8)))
