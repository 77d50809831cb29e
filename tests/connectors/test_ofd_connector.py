import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import connectors, losses


def maps(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def ofd(**options):
    return connectors.OFD(4, 6, rngs=nnx.Rngs(0), **options)


def test_maps_are_normalized_and_keep_their_sign():
    projected = np.asarray(ofd()(5 + 3 * maps(8, 4, 4, 4))["student"])
    np.testing.assert_allclose(projected.mean(axis=(0, 1, 2)), np.zeros(6), atol=1e-4)
    np.testing.assert_allclose(projected.std(axis=(0, 1, 2)), np.ones(6), rtol=1e-3)


@pytest.mark.parametrize("margin", [0.0, -0.5, np.linspace(-1, 0, 6), -np.inf], ids=str)
def test_the_margin_goes_to_the_loss_and_is_not_trained(margin):
    connector = jaxkd.networks.as_connector(ofd(margin=margin))
    assert sorted(connector.params) == [
        "project.conv.kernel",
        "project.norm.bias",
        "project.norm.scale",
    ]
    arguments, state = connector.apply(
        connector.params, connector.state, maps(2, 4, 4, 4), train=True
    )
    np.testing.assert_array_equal(arguments["margin"], np.full(6, margin, np.float32))
    np.testing.assert_array_equal(state["margin"], arguments["margin"])
    teacher = maps(2, 2, 2, 6, seed=1)
    value = losses.ofd(teacher=teacher, **arguments)
    np.testing.assert_array_equal(
        value, losses.ofd(arguments["student"], teacher, margin=np.asarray(margin, np.float32))
    )
    assert np.all(np.isfinite(value))


def test_errors():
    with pytest.raises(ValueError, match=r"a number or \[6\].*not \(4,\)"):
        ofd(margin=jnp.zeros(4))
