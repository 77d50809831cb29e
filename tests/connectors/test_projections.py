import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import connectors


@pytest.mark.parametrize("shape", [(4, 8), (4, 5, 8), (4, 3, 3, 8)])
def test_linear_keeps_examples_apart(shape):
    network = jaxkd.from_nnx(connectors.Linear(8, 6, rngs=nnx.Rngs(0)))
    features = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    outputs = network(features)["logits"]
    assert outputs.shape == (*shape[:-1], 6)
    np.testing.assert_allclose(network(features[1:2])["logits"], outputs[1:2], rtol=1e-5)


def test_conv1x1_is_linear_at_each_pixel():
    network = jaxkd.from_nnx(connectors.Conv1x1(8, 6, rngs=nnx.Rngs(0)))
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 8)), jnp.float32)
    expected = features @ network.params["conv.kernel"][0, 0] + network.params["conv.bias"]
    np.testing.assert_allclose(network(features)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_conv1x1_with_norm_has_statistics():
    network = jaxkd.from_nnx(connectors.Conv1x1(8, 6, norm=True, rngs=nnx.Rngs(0)))
    features = jax.random.normal(jax.random.key(0), (2, 3, 3, 8))
    outputs, state = network.apply(network.params, network.state, features, train=True)
    assert (outputs["logits"] >= 0).all()
    assert not np.array_equal(state["norm.mean"], network.state["norm.mean"])


def test_wrong_ranks_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"not \(2, 8\)"):
        connectors.Conv1x1(8, 6, rngs=nnx.Rngs(0))(jnp.ones((2, 8)))
    with pytest.raises(ValueError, match="not 0 and 6"):
        connectors.Linear(0, 6, rngs=nnx.Rngs(0))
